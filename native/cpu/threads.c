/* A pool of threads that run one job together and meet at barriers.
 *
 * Ops are short (tens of microseconds), so a thread that waits spins first; the machine may be
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

enum { SPINS = 4000, YIELDS = 200 };

/* A counter that threads wait for to move on. */
typedef struct {
    _Alignas(64) atomic_uint value;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
} signal_counter;

struct thread_pool {
    signal_counter start;   /* counts jobs */
    signal_counter meeting; /* counts barriers passed */
    _Alignas(64) atomic_int arrived;
    int n_threads;
    pid_t owner;
    void (*job)(void *, int);
    void *argument;
    int ending;
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

static void counter_advance(signal_counter *c)
{
    /* Sequentially consistent on both sides: either the sleeper sees the new value or we see it. */
    atomic_fetch_add(&c->value, 1);
    if (atomic_load(&c->sleepers) == 0) return;
    pthread_mutex_lock(&c->mutex);
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->mutex);
}

static void counter_wait(signal_counter *c, unsigned seen)
{
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load_explicit(&c->value, memory_order_acquire) != seen) return;
        if (i < SPINS) RELAX();
        else sched_yield();
    }
    pthread_mutex_lock(&c->mutex);
    atomic_fetch_add(&c->sleepers, 1);
    while (atomic_load(&c->value) == seen) pthread_cond_wait(&c->moved, &c->mutex);
    atomic_fetch_sub(&c->sleepers, 1);
    pthread_mutex_unlock(&c->mutex);
}

void pool_barrier(thread_pool *pool)
{
    if (pool->n_threads == 1) return;
    unsigned seen = atomic_load(&pool->meeting.value);
    if (atomic_fetch_add(&pool->arrived, 1) == pool->n_threads - 1) {
        atomic_store(&pool->arrived, 0);
        counter_advance(&pool->meeting);
    } else {
        counter_wait(&pool->meeting, seen);
    }
}

static void *work(void *argument)
{
    struct worker *self = argument;
    thread_pool *pool = self->pool;
    for (unsigned seen = 0;; seen++) {
        counter_wait(&pool->start, seen);
        if (pool->ending) return NULL;
        pool->job(pool->argument, self->index);
        pool_barrier(pool);
    }
}

void pool_run(thread_pool *pool, void (*job)(void *, int), void *argument)
{
    pool->job = job;
    pool->argument = argument;
    if (pool->n_threads > 1) counter_advance(&pool->start);
    job(argument, 0);
    pool_barrier(pool);
}

int pool_threads(const thread_pool *pool) { return pool->n_threads; }

int pool_forked(const thread_pool *pool) { return pool->owner != getpid(); }

static void end_threads(thread_pool *pool, int n_started)
{
    pool->ending = 1;
    if (n_started > 0) counter_advance(&pool->start);
    for (int i = 0; i < n_started; i++) pthread_join(pool->threads[i], NULL);
}

static void pool_free(thread_pool *pool)
{
    if (!pool_forked(pool)) { /* glibc would wait for sleepers that did not come along */
        counter_free(&pool->start);
        counter_free(&pool->meeting);
    }
    free(pool->threads);
    free(pool->workers);
    free(pool);
}

thread_pool *pool_create(int n_threads)
{
    thread_pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    if (!pool) return NULL;
    *pool = (thread_pool){.n_threads = n_threads, .owner = getpid()};
    atomic_init(&pool->arrived, 0);
    if (counter_init(&pool->start)) {
        free(pool);
        return NULL;
    }
    if (counter_init(&pool->meeting)) {
        counter_free(&pool->start);
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
