/* Counted checks, random numbers, and memory beside a guard page. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int n_passed, n_failed;

void check(int holds, const char *file, int line, const char *format, ...)
{
    enum { MOST_SHOWN = 40 };
    if (holds) {
        n_passed++;
        return;
    }
    if (++n_failed > MOST_SHOWN) return;
    va_list values;
    va_start(values, format);
    printf("%s:%d: ", file, line);
    vprintf(format, values);
    printf("\n");
    fflush(stdout);
    va_end(values);
}

int checks_report(void)
{
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0;
}

uint32_t random_u32(void) /* xorshift64*: Vigna 2016, arXiv:1402.6246 */
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32);
}

int random_below(int n) { return (int)(random_u32() % (uint32_t)n); }

float random_float(void) { return (float)(int32_t)random_u32() * 0x1p-31f; }

guarded guarded_alloc(size_t nbytes, enum edge edge)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inside = (nbytes + page - 1) / page * page;
    guarded g = {.mapped = inside + page};
    g.mapping = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *at = g.mapping;
    if (g.mapping == MAP_FAILED || mprotect(edge == EDGE_END ? at + inside : at, page, PROT_NONE)) {
        perror("a guard page");
        exit(2);
    }
    g.data = edge == EDGE_END ? at + inside - nbytes : at + page;
    return g;
}

void guarded_free(guarded g) { munmap(g.mapping, g.mapped); }
