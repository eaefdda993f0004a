/* Which instruction sets this build has, and which of them this machine and its system offer. */
#include "cpu/isa/isa.h"

extern const kernel_table kernels_scalar;

static int always(void) { return 1; }

#if defined(__x86_64__)
#include <cpuid.h>

extern const kernel_table kernels_avx2, kernels_avx512, kernels_avx512vnni;

/* Bit numbers: Intel SDM volume 2, CPUID leaves 1 and 7. */
enum { FMA = 12, OSXSAVE = 27, F16C = 29 };                    /* leaf 1, ecx */
enum { AVX2 = 5, AVX512F = 16, AVX512DQ = 17, AVX512BW = 30 }; /* leaf 7, ebx */
enum { AVX512VL = 31 };                                        /* leaf 7, ebx */
enum { AVX512VNNI = 11 };                                      /* leaf 7, ecx */
enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6 };                  /* state the system saves */

static int has(unsigned bits, int number) { return bits >> number & 1; }

static unsigned saved_state(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has(ecx, OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return eax;
}

static int has_avx2(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if ((saved_state() & XCR0_AVX) != XCR0_AVX) return 0;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (!has(ecx, FMA) || !has(ecx, F16C)) return 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && has(ebx, AVX2);
}

static int has_avx512(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!has_avx2() || (saved_state() & XCR0_AVX512) != XCR0_AVX512) return 0;
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
    return has(ebx, AVX512F) && has(ebx, AVX512DQ) && has(ebx, AVX512BW) && has(ebx, AVX512VL);
}

static int has_avx512vnni(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!has_avx512()) return 0;
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
    return has(ecx, AVX512VNNI);
}
#elif defined(__aarch64__)
extern const kernel_table kernels_neon;
#endif

static const instruction_set sets[] = {
    {"scalar", always, &kernels_scalar},
#if defined(__x86_64__)
    {"avx2", has_avx2, &kernels_avx2},
    {"avx512", has_avx512, &kernels_avx512},
    {"avx512vnni", has_avx512vnni, &kernels_avx512vnni},
#elif defined(__aarch64__)
    {"neon", always, &kernels_neon},
#endif
};

const instruction_set *instruction_sets(int *count)
{
    *count = (int)(sizeof sets / sizeof *sets);
    return sets;
}
