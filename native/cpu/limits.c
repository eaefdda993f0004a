/* The machine's own limits: the loops of kernels/limits.h on all threads of a device, timed. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "cpu/internal.h"

typedef struct {
    const limit_loops *loops;
    const char *memory; /* to be read, or NULL */
    size_t each, ahead; /* bytes of a thread */
    void (*work)(int64_t);
    int64_t rounds;
} measurement;

static void run(void *argument, int thread)
{
    const measurement *m = argument;
    if (m->memory)
        m->loops->read(m->memory + (size_t)thread * m->each, m->each, m->ahead);
    else
        m->work(m->rounds);
}

/* `amount` of what every thread does, a second; the time is that of the slowest thread. */
static double rate(cpu_device *device, measurement *m, double amount)
{
    thread_pool *pool = cpu_device_pool(device);
    struct timespec begin, end;
    if (pool_forked(pool)) return 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pool_run(pool, run, m);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec)
                     + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    return amount * pool_threads(pool) / seconds;
}

double cpu_read_rate(cpu_device *device, const void *memory, size_t bytes, size_t ahead)
{
    enum { PAGE = 4096 };
    measurement m = {cpu_device_limits(device), memory, 0, ahead, NULL, 0};
    m.each = bytes / (size_t)pool_threads(cpu_device_pool(device)) / PAGE * PAGE;
    return rate(device, &m, (double)m.each);
}

double cpu_fma_rate(cpu_device *device, int64_t rounds)
{
    const limit_loops *loops = cpu_device_limits(device);
    measurement m = {.loops = loops, .work = loops->fma, .rounds = rounds};
    return rate(device, &m, (double)rounds * loops->fma_operations);
}

double cpu_dot_rate(cpu_device *device, int64_t rounds)
{
    const limit_loops *loops = cpu_device_limits(device);
    measurement m = {.loops = loops, .work = loops->dot, .rounds = rounds};
    return rate(device, &m, (double)rounds * loops->dot_operations);
}
