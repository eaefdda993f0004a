/* The thread pool under stress: jobs, barriers, sleepers, start and stop, and a fork. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "check.h"
#include "cpu/threads.h"

enum { MOST_THREADS = 8, PHASES = 30 };

typedef struct {
    thread_pool *pool;
    int written[MOST_THREADS]; /* plain ints: the barrier alone makes them visible */
    atomic_int wrong;
    int sleeper;               /* this thread comes late to a barrier, so that the others sleep */
} rounds;

static void run_rounds(void *argument, int thread)
{
    rounds *r = argument;
    int n = pool_threads(r->pool);
    for (int phase = 1; phase <= PHASES; phase++) {
        r->written[thread] = phase;
        if (thread == r->sleeper && phase % 15 == 0) usleep(3000);
        pool_barrier(r->pool);
        for (int i = 0; i < n; i++)
            if (r->written[i] != phase) atomic_fetch_add(&r->wrong, 1);
        pool_barrier(r->pool);
    }
}

static void test_barriers(int n_threads)
{
    thread_pool *pool = pool_create(n_threads);
    CHECK(pool && pool_threads(pool) == n_threads, "a pool of %d threads", n_threads);
    rounds r = {.pool = pool, .sleeper = -1};
    for (int job = 0; job < 10; job++) {
        if (job > 7) r.sleeper = job % n_threads;
        if (job % 10 == 9) usleep(3000); /* the workers sleep until the next job */
        pool_run(pool, run_rounds, &r);
        for (int i = 0; i < n_threads; i++)
            CHECK(r.written[i] == PHASES, "thread %d of %d did not run", i, n_threads);
    }
    CHECK(atomic_load(&r.wrong) == 0, "%d threads: a barrier let one through early", n_threads);
    pool_destroy(pool);
}

static void count_in(void *argument, int thread)
{
    (void)thread;
    atomic_fetch_add((atomic_int *)argument, 1);
}

static void test_start_and_stop(void)
{
    for (int i = 0; i < 60; i++) {
        int n_threads = 1 + i % MOST_THREADS;
        atomic_int count = 0;
        thread_pool *pool = pool_create(n_threads);
        for (int job = 0; pool && job < i % 3; job++) pool_run(pool, count_in, &count);
        CHECK(pool && atomic_load(&count) == n_threads * (i % 3), "%d threads, %d jobs: %d came",
              n_threads, i % 3, atomic_load(&count));
        pool_destroy(pool);
    }
}

/* A child process has none of the threads: its copy of the pool says so, and can be destroyed,
 * whether the threads were spinning or asleep. */
static void test_fork(void)
{
    for (int asleep = 0; asleep < 2; asleep++) {
        atomic_int count = 0;
        thread_pool *pool = pool_create(3);
        pool_run(pool, count_in, &count);
        if (asleep) usleep(50000);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(20);
            int forked = pool_forked(pool);
            pool_destroy(pool);
            _exit(forked ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        CHECK(child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0,
              "a forked child could not destroy its pool (threads %s): status %x",
              asleep ? "asleep" : "spinning", (unsigned)status);
        CHECK(!pool_forked(pool), "the parent takes itself for a child");
        pool_destroy(pool);
    }
}

void test_threads(void)
{
    for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) test_barriers(n_threads);
    test_start_and_stop();
    test_fork();
}
