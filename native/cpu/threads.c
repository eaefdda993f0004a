/* Threads that take part in jobs: see threads.h.
 *
 * What threads wait for lasts microseconds, so a thread that waits spins first; the machine may be
 * shared, so it then yields, and at last sleeps on a condition variable.
 */
#define _POSIX_C_SOURCE 200809L
#include "cpu/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

enum { SPINS = 4000, YIELDS = 200, COUNTERS = 3 };

/* A counter that only grows while somebody waits for it to reach a number. */
typedef struct {
    _Alignas(64) _Atomic int64_t value;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
} signal_counter;

struct thread_pool {
    signal_counter start; /* jobs begun */
    signal_counter done;  /* pieces of this job */
    signal_counter left;  /* how often a thread has left a job that it had joined */
    /* Twice the number of times that threads joined a job, and 1 while they may. One number, so
     * that nobody joins between the closing of a job and the count of those who are still in it. */
    _Alignas(64) _Atomic int64_t gate;
    int n_threads;
    pid_t owner;
    void (*job)(void *, int); /* written and read while the gate is closed, or inside it */
    void *argument;
    atomic_int ending; /* read by threads that are late for a job, too */
    pthread_t *threads; /* [n_threads - 1] */
    struct worker *workers;
};

struct worker {
    thread_pool *pool;
    int index;
};

static int counter_init(signal_counter *c)
{
    atomic_init(&c->value, 0);
    atomic_init(&c->sleepers, 0);
    if (pthread_mutex_init(&c->mutex, NULL)) return -1;
    if (!pthread_cond_init(&c->moved, NULL)) return 0;
    pthread_mutex_destroy(&c->mutex);
    return -1;
}

static void counter_free(signal_counter *c)
{
    pthread_cond_destroy(&c->moved);
    pthread_mutex_destroy(&c->mutex);
}

static void counter_advance(signal_counter *c, int64_t n)
{
    /* Sequentially consistent on both sides: either the sleeper sees the new value or we see it. */
    atomic_fetch_add(&c->value, n);
    if (atomic_load(&c->sleepers) == 0) return;
    pthread_mutex_lock(&c->mutex);
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->mutex);
}

static void counter_wait(signal_counter *c, int64_t wanted)
{
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load_explicit(&c->value, memory_order_acquire) >= wanted) return;
        if (i < SPINS) RELAX();
        else sched_yield();
    }
    pthread_mutex_lock(&c->mutex);
    atomic_fetch_add(&c->sleepers, 1);
    while (atomic_load(&c->value) < wanted) pthread_cond_wait(&c->moved, &c->mutex);
    atomic_fetch_sub(&c->sleepers, 1);
    pthread_mutex_unlock(&c->mutex);
}

void pool_add_done(thread_pool *pool, int64_t n) { counter_advance(&pool->done, n); }

void pool_wait_done(thread_pool *pool, int64_t n) { counter_wait(&pool->done, n); }

static int join_job(thread_pool *pool)
{
    int64_t gate = atomic_load(&pool->gate);
    while (gate & 1)
        if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 2)) return 1;
    return 0;
}

static void *work(void *argument)
{
    struct worker *self = argument;
    thread_pool *pool = self->pool;
    for (int64_t seen = 0;;) {
        counter_wait(&pool->start, seen + 1);
        seen = atomic_load(&pool->start.value);
        if (atomic_load(&pool->ending)) return NULL;
        if (!join_job(pool)) continue;
        pool->job(pool->argument, self->index);
        counter_advance(&pool->left, 1);
    }
}

void pool_run(thread_pool *pool, void (*job)(void *, int), void *argument)
{
    pool->job = job;
    pool->argument = argument;
    atomic_store(&pool->done.value, 0);
    if (pool->n_threads > 1) {
        atomic_fetch_or(&pool->gate, 1);
        counter_advance(&pool->start, 1);
    }
    job(argument, 0);
    if (pool->n_threads > 1)
        counter_wait(&pool->left, atomic_fetch_and(&pool->gate, ~(int64_t)1) >> 1);
}

int pool_threads(const thread_pool *pool) { return pool->n_threads; }

int pool_forked(const thread_pool *pool) { return pool->owner != getpid(); }

static void end_threads(thread_pool *pool, int n_started)
{
    atomic_store(&pool->ending, 1);
    if (n_started > 0) counter_advance(&pool->start, 1);
    for (int i = 0; i < n_started; i++) pthread_join(pool->threads[i], NULL);
}

static void pool_free(thread_pool *pool)
{
    signal_counter *counters[] = {&pool->start, &pool->done, &pool->left};
    for (int i = 0; i < COUNTERS && !pool_forked(pool); i++) /* in a fork, glibc would wait for */
        counter_free(counters[i]);                           /* sleepers that did not come along */
    free(pool->threads);
    free(pool->workers);
    free(pool);
}

thread_pool *pool_create(int n_threads)
{
    thread_pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    if (!pool) return NULL;
    *pool = (thread_pool){.n_threads = n_threads, .owner = getpid()};
    atomic_init(&pool->gate, 0);
    atomic_init(&pool->ending, 0);
    signal_counter *counters[] = {&pool->start, &pool->done, &pool->left};
    for (int i = 0; i < COUNTERS; i++)
        if (counter_init(counters[i])) {
            while (i-- > 0) counter_free(counters[i]);
            free(pool);
            return NULL;
        }
    pool->threads = calloc((size_t)n_threads, sizeof *pool->threads);
    pool->workers = calloc((size_t)n_threads, sizeof *pool->workers);
    int started = 0;
    while (pool->threads && pool->workers && started < n_threads - 1) {
        pool->workers[started] = (struct worker){pool, started + 1};
        if (pthread_create(&pool->threads[started], NULL, work, &pool->workers[started])) break;
        started++;
    }
    if (started == n_threads - 1 && pool->threads && pool->workers) return pool;
    end_threads(pool, started);
    pool_free(pool);
    return NULL;
}

void pool_destroy(thread_pool *pool)
{
    if (!pool) return;
    if (!pool_forked(pool)) end_threads(pool, pool->n_threads - 1);
    pool_free(pool);
}
