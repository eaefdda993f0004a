/* Which instruction sets this build has, and which of them this machine and its system offer. */
#define _DEFAULT_SOURCE /* sysconf's names of caches */
#include "cpu/isa/isa.h"
#include "cpu/isa/prelude.h"

#include <pthread.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

extern const kernel_table kernels_scalar;

int64_t l2_bytes = 1 << 20;

#if defined(__x86_64__)
#include <cpuid.h>

extern const kernel_table kernels_avx2, kernels_avxvnni, kernels_avx512, kernels_avx512vnni,
    kernels_amx;

/* Where features are told: leaves of CPUID (Intel SDM volume 2), with the register as `part`, and
 * the register XCR0, which says what state the system saves (volume 1, chapter 13). */
enum { CPUID_1, CPUID_7, CPUID_7_1, XCR0, PERMISSION };
enum { EAX, EBX, ECX, EDX };

#define BIT(number) ((uint32_t)1 << (number))
static const feature
    FMA = {"FMA", CPUID_1, ECX, BIT(12)},
    F16C = {"F16C", CPUID_1, ECX, BIT(29)},
    AVX2 = {"AVX2", CPUID_7, EBX, BIT(5)},
    AVX512F = {"AVX512F", CPUID_7, EBX, BIT(16)},
    AVX512DQ = {"AVX512DQ", CPUID_7, EBX, BIT(17)},
    AVX512BW = {"AVX512BW", CPUID_7, EBX, BIT(30)},
    AVX512VL = {"AVX512VL", CPUID_7, EBX, BIT(31)},
    AVX512_VNNI = {"AVX512_VNNI", CPUID_7, ECX, BIT(11)},
    AVX_VNNI = {"AVX-VNNI", CPUID_7_1, EAX, BIT(4)},
    YMM = {"YMM", XCR0, 0, 0x06}, /* registers that the system saves */
    ZMM = {"ZMM", XCR0, 0, 0xe6};
#if HAVE_AMX
static const feature
    AMX_TILE = {"AMX-TILE", CPUID_7, EDX, BIT(24)},
    AMX_INT8 = {"AMX-INT8", CPUID_7, EDX, BIT(25)},
    TILES = {"TILES", PERMISSION, 0, 1};
#endif

static const feature unused[] = {
    {"AVX512_BF16", CPUID_7_1, EAX, BIT(5)},
    {"AVX512_FP16", CPUID_7, EDX, BIT(23)},
    {"AVX-VNNI-INT16", CPUID_7_1, EDX, BIT(10)},
    {"AMX-BF16", CPUID_7, EDX, BIT(22)},
};

#define NEEDS_AVX2 &YMM, &AVX2, &FMA, &F16C
#ifdef V_EMULATE_AMX
#define NEEDS_AMX NULL
#else
#define NEEDS_AMX &AMX_TILE, &AMX_INT8, &TILES
#endif
#define NEEDS_AVX512 NEEDS_AVX2, &ZMM, &AVX512F, &AVX512DQ, &AVX512BW, &AVX512VL

static const instruction_set sets[] = {
    {"scalar", &kernels_scalar, {NULL}},
    {"avx2", &kernels_avx2, {NEEDS_AVX2}},
#if HAVE_AVXVNNI
    {"avxvnni", &kernels_avxvnni, {NEEDS_AVX2, &AVX_VNNI}},
#endif
    {"avx512", &kernels_avx512, {NEEDS_AVX512}},
    {"avx512vnni", &kernels_avx512vnni, {NEEDS_AVX512, &AVX512_VNNI}},
#if HAVE_AMX
    {"amx", &kernels_amx, {NEEDS_AVX512, &AVX512_VNNI, NEEDS_AMX}},
#endif
};

#if HAVE_AMX
#include <sys/syscall.h>

/* Linux saves the 8 KiB of tiles only for processes that ask for it, for all their threads (its
 * Documentation/arch/x86/xstate.rst). */
static uint32_t may_use_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}
#else
static uint32_t may_use_tiles(void) { return 0; }
#endif

/* 0 where the processor does not know the leaf, or the system does not use XCR0. */
static uint32_t told(int where, int part)
{
    enum { OSXSAVE = 27 };
    uint32_t r[4] = {0, 0, 0, 0};
    if (where == PERMISSION) return may_use_tiles();
    if (where == CPUID_7 || where == CPUID_7_1) {
        if (!__get_cpuid_count(7, where == CPUID_7_1, &r[EAX], &r[EBX], &r[ECX], &r[EDX])) return 0;
        return r[part];
    }
    if (!__get_cpuid(1, &r[EAX], &r[EBX], &r[ECX], &r[EDX])) return 0;
    if (where == CPUID_1) return r[part];
    if (!(r[ECX] & BIT(OSXSAVE))) return 0;
    __asm__ volatile("xgetbv" : "=a"(r[EAX]), "=d"(r[EDX]) : "c"(0));
    return r[EAX];
}

/* Intel's first-level cache has 10 to 16 places for lines that are on their way, which is not enough
 * for a core's bandwidth; the second has 48 (docs/kernels.md has the numbers). A Zen 5 is up to a tenth
 * slower that way. */
int prefetch_into_l2;

static void look_at_maker(void)
{
    uint32_t r[4] = {0, 0, 0, 0};
    prefetch_into_l2 = __get_cpuid(0, &r[EAX], &r[EBX], &r[ECX], &r[EDX])
                       && r[EBX] == signature_INTEL_ebx;
}

int feature_is_here(const feature *f) { return (told(f->where, f->part) & f->bits) == f->bits; }

#elif defined(__aarch64__)
extern const kernel_table kernels_neon, kernels_neondot;

/* Bits of Linux's auxiliary vector (asm/hwcap.h); Apple's systems are asked by name. */
enum { HWCAP, HWCAP2 };
static const feature DOTPROD = {"DotProd", HWCAP, 0, 1u << 20};
static const feature unused[] = {
    {"SVE", HWCAP, 0, 1u << 22},
    {"I8MM", HWCAP2, 0, 1u << 13},
    {"BF16", HWCAP2, 0, 1u << 14},
    {"SME", HWCAP2, 0, 1u << 23},
};

static const instruction_set sets[] = {
    {"scalar", &kernels_scalar, {NULL}},
    {"neon", &kernels_neon, {NULL}}, /* every arm64 processor has it */
#if HAVE_NEONDOT
    {"neondot", &kernels_neondot, {&DOTPROD}},
#endif
};

#if defined(__APPLE__)
#include <stdio.h>

int feature_is_here(const feature *f)
{
    char name[64];
    int answer = 0;
    size_t size = sizeof answer;
    snprintf(name, sizeof name, "hw.optional.arm.FEAT_%s", f->name);
    return !sysctlbyname(name, &answer, &size, NULL, 0) && answer;
}
#elif defined(__linux__)
#include <sys/auxv.h>

int feature_is_here(const feature *f)
{
    return (getauxval(f->where == HWCAP ? AT_HWCAP : AT_HWCAP2) & f->bits) == f->bits;
}
#else
int feature_is_here(const feature *f) { return f == NULL; }
#endif

#else
static const instruction_set sets[] = {{"scalar", &kernels_scalar, {NULL}}};
static const feature unused[] = {{"nothing", 0, 0, 0}};

int feature_is_here(const feature *f) { return f == NULL; }
#endif

static void look_at_l2(void)
{
    int64_t bytes = 0;
#if defined(__APPLE__)
    size_t size = sizeof bytes;
    if (sysctlbyname("hw.perflevel0.l2cachesize", &bytes, &size, NULL, 0))
        if (sysctlbyname("hw.l2cachesize", &bytes, &size, NULL, 0)) bytes = 0;
#elif defined(_SC_LEVEL2_CACHE_SIZE)
    bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    if (bytes > 0) l2_bytes = bytes;
#if defined(__x86_64__)
    look_at_maker();
#endif
}

void look_at_caches(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, look_at_l2);
}

const instruction_set *instruction_sets(int *count)
{
    *count = (int)(sizeof sets / sizeof *sets);
    return sets;
}

const feature *unused_features(int *count)
{
    *count = (int)(sizeof unused / sizeof *unused);
    return unused;
}

int instruction_set_is_here(const instruction_set *set)
{
    enum { NOT_ASKED, NO, YES }; /* a virtual machine takes tens of microseconds for each CPUID */
    static atomic_int answers[sizeof sets / sizeof *sets];
    atomic_int *answer = &answers[set - sets];
    if (atomic_load(answer) == NOT_ASKED) {
        int is_here = YES;
        for (int i = 0; i < MOST_NEEDS && set->needs[i]; i++)
            if (!feature_is_here(set->needs[i])) is_here = NO;
        atomic_store(answer, is_here);
    }
    return atomic_load(answer) == YES;
}
