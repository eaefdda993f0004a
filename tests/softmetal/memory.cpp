/* Buffer memory between guard pages. */
#include <sys/mman.h>
#include <unistd.h>

#include "executor.h"

namespace {

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }

} // namespace

void *msl_allocate(size_t length)
{
    const size_t own = round_up(length ? length : 1, page());
    char *p =
        (char *)mmap(nullptr, own + 2 * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return nullptr;
    if (mprotect(p + page(), own, PROT_READ | PROT_WRITE) != 0) {
        munmap(p, own + 2 * page());
        return nullptr;
    }
    return p + page() + own - round_up(length ? length : 1, 16);
}

void msl_free(void *address, size_t length)
{
    if (!address)
        return;
    const size_t own = round_up(length ? length : 1, page());
    char *end = (char *)address + round_up(length ? length : 1, 16);
    munmap(end - own - page(), own + 2 * page());
}
