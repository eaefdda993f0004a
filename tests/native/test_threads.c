/* The thread pool under stress: jobs in phases, sleepers, late comers, start and stop, a fork,
 * and memory touched by all. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "check.h"
#include "cpu/cpu.h"
#include "cpu/internal.h"
#include "cpu/threads.h"

enum { MOST_THREADS = 8, PHASES = 30, PIECES = 24 };

typedef struct {
    thread_pool *pool;
    atomic_int taken[PHASES];
    int written[PIECES];        /* plain ints: the waiting alone makes them visible */
    atomic_int wrong;
    atomic_int came[MOST_THREADS];
    int slow_phase;             /* in which a piece takes so long that those who wait fall asleep */
} phases;

/* Every phase reads what all pieces of the one before have written. */
static void run_phases(void *argument, int thread)
{
    phases *p = argument;
    atomic_fetch_add(&p->came[thread], 1);
    for (int phase = 0; phase < PHASES; phase++) {
        int done = 0;
        for (int piece; (piece = atomic_fetch_add(&p->taken[phase], 1)) < PIECES; done++) {
            if (p->written[piece] != phase) atomic_fetch_add(&p->wrong, 1);
            if (phase == p->slow_phase && piece == 0) usleep(5000);
            p->written[piece] = phase + 1;
        }
        pool_add_done(p->pool, done);
        pool_wait_done(p->pool, (int64_t)(phase + 1) * PIECES);
    }
}

static void test_phases(int n_threads)
{
    thread_pool *pool = pool_create(n_threads);
    CHECK(pool && pool_threads(pool) == n_threads, "a pool of %d threads", n_threads);
    for (int job = 0; job < 200; job++) {
        phases p = {.pool = pool, .slow_phase = job % 50 == 7 ? 13 : -1};
        if (job % 50 == 9) usleep(3000); /* the others sleep until the next job */
        pool_run(pool, run_phases, &p);
        for (int i = 0; i < PIECES; i++)
            CHECK(p.written[i] == PHASES, "job %d: piece %d of %d threads is at phase %d", job, i,
                  n_threads, p.written[i]);
        CHECK(atomic_load(&p.wrong) == 0, "%d threads: a phase began early", n_threads);
        CHECK(atomic_load(&p.came[0]) == 1, "thread 0 came %d times", atomic_load(&p.came[0]));
    }
    pool_destroy(pool);
}

/* A job whose threads wait until all have come: they do come, asleep or not. */
static void all_come(void *argument, int thread)
{
    thread_pool *pool = *(thread_pool **)argument;
    (void)thread;
    pool_add_done(pool, 1);
    pool_wait_done(pool, pool_threads(pool));
}

static void test_start_and_stop(void)
{
    for (int i = 0; i < 60; i++) {
        thread_pool *pool = pool_create(1 + i % MOST_THREADS);
        CHECK(pool != NULL, "a pool of %d threads", 1 + i % MOST_THREADS);
        for (int job = 0; job < i % 3; job++) {
            if (i % 20 == 5) usleep(3000);
            pool_run(pool, all_come, &pool);
        }
        pool_destroy(pool);
    }
}

/* A child process has none of the threads: its copy of the pool says so, and can be destroyed,
 * whether the threads were spinning or asleep. */
static void test_fork(void)
{
    for (int asleep = 0; asleep < 2; asleep++) {
        thread_pool *pool = pool_create(3);
        pool_run(pool, all_come, &pool);
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

/* One byte of each huge page becomes 0, and none outside the memory is written. */
static void test_touch(int n_threads)
{
    const size_t sizes[] = {0, 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 5};
    const size_t most = 4 * (size_t)HUGE_PAGE_BYTES;
    char *memory = malloc(most);
    cpu_device *device = cpu_device_create(0, n_threads);
    for (size_t i = 0; memory && device && i < sizeof sizes / sizeof *sizes; i++) {
        memset(memory, 1, most);
        cpu_touch(device, memory, sizes[i]);
        size_t wrong = 0;
        for (size_t at = 0; at < most; at++)
            wrong += memory[at] != !(at < sizes[i] && at % HUGE_PAGE_BYTES == 0);
        CHECK(!wrong, "%zu bytes, %d threads: %zu are wrong", sizes[i], n_threads, wrong);
    }
    CHECK(memory && device, "no memory");
    cpu_device_destroy(device);
    free(memory);
}

void test_threads(void)
{
    for (int n_threads = 1; n_threads <= 4; n_threads += 3) test_touch(n_threads);
    for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) test_phases(n_threads);
    test_start_and_stop();
    test_fork();
}
