/* The machine's own limits: the loops of kernels/limits.h on all threads of a device, timed. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "cpu/internal.h"

typedef struct {
    thread_pool *pool;
    const limit_loops *loops;
    const char *memory; /* to be read, or NULL */
    size_t each, ahead; /* bytes of a thread */
    void (*work)(int64_t);
    int64_t rounds;
    double begun; /* seconds of the clock */
} measurement;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run(void *argument, int thread)
{
    measurement *m = argument;
    pool_add_done(m->pool, 1); /* here all have to come, and begin together */
    pool_wait_done(m->pool, pool_threads(m->pool));
    if (thread == 0) m->begun = now();
    if (m->memory)
        m->loops->read(m->memory + (size_t)thread * m->each, m->each, m->ahead);
    else
        m->work(m->rounds);
}

/* `amount` of what every thread does, a second; the time is that of the slowest thread. */
static double rate(cpu_device *device, measurement *m, double amount)
{
    m->pool = cpu_device_pool(device);
    m->loops = cpu_device_limits(device);
    if (pool_forked(m->pool)) return 0;
    pool_run(m->pool, run, m);
    return amount * pool_threads(m->pool) / (now() - m->begun);
}

double cpu_read_rate(cpu_device *device, const void *memory, size_t bytes, size_t ahead)
{
    enum { PAGE = 4096 };
    measurement m = {.memory = memory, .ahead = ahead};
    m.each = bytes / (size_t)pool_threads(cpu_device_pool(device)) / PAGE * PAGE;
    return rate(device, &m, (double)m.each);
}

double cpu_fma_rate(cpu_device *device, int64_t rounds)
{
    const limit_loops *loops = cpu_device_limits(device);
    measurement m = {.work = loops->fma, .rounds = rounds};
    return rate(device, &m, (double)rounds * loops->fma_operations);
}

double cpu_dot_rate(cpu_device *device, int64_t rounds)
{
    const limit_loops *loops = cpu_device_limits(device);
    measurement m = {.work = loops->dot, .rounds = rounds};
    return rate(device, &m, (double)rounds * loops->dot_operations);
}
