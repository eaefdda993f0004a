/* What the checked mode sees of memory: before every access clang calls __asan_load4_noabort or its
 * like (-fsanitize=kernel-address, outlined), and these ask the host. Stacks are let through here:
 * they are the threads' own, and most accesses go there.
 */
#ifndef SOFTMETAL_ACCESS_H
#define SOFTMETAL_ACCESS_H

#include "threads.h"

namespace softmetal {

#ifdef SOFTMETAL_CHECKED
__attribute__((noinline, no_sanitize("kernel-address", "alignment"))) inline void touch(
    u64 address, u64 bytes, access_kind kind, void *from)
{
    const u64 here = stack_address();
    if (((here ^ address) & ~(REGION_BYTES - 1)) == 0)
        return;
    machine *m = (machine *)((here & ~(REGION_BYTES - 1)) + STACKS_BYTES);
    m->access(m, (u32)(here / STACK_BYTES) % MAX_THREADS, address, bytes, kind, from);
}
#define SOFTMETAL_HERE __builtin_return_address(0)
#define SOFTMETAL_OUTLINE \
    __attribute__((noinline, used, no_sanitize("kernel-address", "alignment")))

SOFTMETAL_OUTLINE inline void touch_atomic(u64 address, u64 bytes, access_kind kind)
{
    touch(address, bytes, kind, SOFTMETAL_HERE);
}

#define SOFTMETAL_ACCESSES(bytes) \
    extern "C" SOFTMETAL_OUTLINE void __asan_load##bytes##_noabort(u64 a) \
    { \
        touch(a, bytes, ACCESS_READ, SOFTMETAL_HERE); \
    } \
    extern "C" SOFTMETAL_OUTLINE void __asan_store##bytes##_noabort(u64 a) \
    { \
        touch(a, bytes, ACCESS_WRITE, SOFTMETAL_HERE); \
    }
SOFTMETAL_ACCESSES(1)
SOFTMETAL_ACCESSES(2)
SOFTMETAL_ACCESSES(4)
SOFTMETAL_ACCESSES(8)
SOFTMETAL_ACCESSES(16)
#undef SOFTMETAL_ACCESSES
extern "C" SOFTMETAL_OUTLINE void __asan_loadN_noabort(u64 a, u64 n)
{
    touch(a, n, ACCESS_READ, SOFTMETAL_HERE);
}
extern "C" SOFTMETAL_OUTLINE void __asan_storeN_noabort(u64 a, u64 n)
{
    touch(a, n, ACCESS_WRITE, SOFTMETAL_HERE);
}
extern "C" SOFTMETAL_OUTLINE void *__asan_memcpy(void *to, const void *from, u64 n)
{
    touch((u64)from, n, ACCESS_READ, SOFTMETAL_HERE);
    touch((u64)to, n, ACCESS_WRITE, SOFTMETAL_HERE);
    return __builtin_memcpy(to, from, n);
}
extern "C" SOFTMETAL_OUTLINE void *__asan_memmove(void *to, const void *from, u64 n)
{
    touch((u64)from, n, ACCESS_READ, SOFTMETAL_HERE);
    touch((u64)to, n, ACCESS_WRITE, SOFTMETAL_HERE);
    return __builtin_memmove(to, from, n);
}
extern "C" SOFTMETAL_OUTLINE void *__asan_memset(void *to, int c, u64 n)
{
    touch((u64)to, n, ACCESS_WRITE, SOFTMETAL_HERE);
    return __builtin_memset(to, c, n);
}
extern "C" SOFTMETAL_OUTLINE void __asan_handle_no_return() {}

/* -fsanitize=alignment: a pointer is used for a type that wants a larger alignment than its address
 * has. The data begin with the place in the text. */
struct text_place {
    const char *file;
    u32 line, column;
};
extern "C" SOFTMETAL_OUTLINE void __ubsan_handle_type_mismatch_v1(const text_place *place,
                                                                  u64 address)
{
    const self me;
    me.m->misaligned(me.m, me.number, address, place->line, place->file);
}
#undef SOFTMETAL_HERE
#undef SOFTMETAL_OUTLINE
#else
SOFTMETAL_INLINE void touch_atomic(u64, u64, access_kind) {}
#endif

} // namespace softmetal
#endif
