/* What this machine can do at most: bytes read a second, float32 and int16 operations a second.
 *
 * Built by bench/limits.py for the machine it runs on; every function runs on n_threads threads at
 * once and returns a rate.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
/* The compiler may not fold the rounds, and the value may stay in its register. */
#if defined(__x86_64__)
#define KEEP(x) __asm__ volatile("" : "+v"(x))
#else
#define KEEP(x) __asm__ volatile("" : "+w"(x))
#endif
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int64_t ivec __attribute__((vector_size(LANES * 4)));

typedef struct {
    const char *from;
    size_t bytes;
    int64_t rounds;
    float result;
} share;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *read_share(void *argument)
{
    share *s = argument;
    ivec sum[4] = {0};
    for (int64_t r = 0; r < s->rounds; r++)
        for (size_t at = 0; at + sizeof sum <= s->bytes; at += sizeof sum) {
            __builtin_prefetch(s->from + at + 4096);
            for (int i = 0; i < 4; i++) {
                ivec v;
                memcpy(&v, s->from + at + (size_t)i * sizeof v, sizeof v);
                sum[i] ^= v;
            }
        }
    s->result = (float)(sum[0] ^ sum[1] ^ sum[2] ^ sum[3])[0];
    return NULL;
}

static void *fma_share(void *argument)
{
    share *s = argument;
    vec sum[12], a, b;
    for (int l = 0; l < LANES; l++) a[l] = 0.999f, b[l] = 0.001f;
    for (int i = 0; i < 12; i++) sum[i] = a;
    for (int64_t r = 0; r < s->rounds; r++)
#pragma GCC unroll 12 /* or the sums would live in memory */
        for (int i = 0; i < 12; i++) {
            sum[i] = sum[i] * a + b;
            KEEP(sum[i]);
        }
    for (int i = 1; i < 12; i++) sum[0] += sum[i];
    s->result = sum[0][0];
    return NULL;
}

static double seconds(void *(*work)(void *), share *shares, int n_threads)
{
    pthread_t threads[64];
    double start = now();
    for (int i = 1; i < n_threads; i++) pthread_create(&threads[i], NULL, work, &shares[i]);
    work(&shares[0]);
    for (int i = 1; i < n_threads; i++) pthread_join(threads[i], NULL);
    return now() - start;
}

/* GB/s of sequential reading of `bytes` bytes in all. */
double read_rate(const char *memory, size_t bytes, int n_threads)
{
    share shares[64];
    size_t each = bytes / (size_t)n_threads / 4096 * 4096;
    for (int i = 0; i < n_threads; i++) shares[i] = (share){memory + (size_t)i * each, each, 1, 0};
    return 1e-9 * (double)each * n_threads / seconds(read_share, shares, n_threads);
}

/* GFLOP/s of fused multiply-adds in registers, two operations each. */
double fma_rate(int n_threads)
{
    share shares[64];
    const int64_t rounds = 20000000;
    for (int i = 0; i < n_threads; i++) shares[i] = (share){NULL, 0, rounds, 0};
    double time = seconds(fma_share, shares, n_threads);
    return 1e-9 * 2.0 * 12 * LANES * (double)rounds * n_threads / time;
}
