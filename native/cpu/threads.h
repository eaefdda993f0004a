/* A pool of threads that share out the work of one job.
 *
 * No thread waits for another to come, only for work that another has taken. The caller runs the
 * job at once; the others join it when they wake, or, if they are late, do not. So a job has to be
 * one that the caller could do alone: its threads take pieces of it until none are left. On a
 * machine that is busy with other things a job takes no longer than on one thread, where threads
 * that meet would all stand still for the one that the system has put aside.
 */
#ifndef SMELT_THREADS_H
#define SMELT_THREADS_H

#include <stdint.h>

typedef struct thread_pool thread_pool;

thread_pool *pool_create(int n_threads); /* the caller is thread 0; NULL on failure */
void pool_destroy(thread_pool *pool);
int pool_threads(const thread_pool *pool);
int pool_forked(const thread_pool *pool); /* 1 in a child process, which has none of the threads */

/* Returns when thread 0 has run the job, and so has every thread that joined in. */
void pool_run(thread_pool *pool, void (*job)(void *argument, int thread), void *argument);

/* Inside a job: adds `n` to the pieces that are done, 0 as a job begins; and waits until there are
 * at least `n`, with all that the threads that did them have written. */
void pool_add_done(thread_pool *pool, int64_t n);
void pool_wait_done(thread_pool *pool, int64_t n);

#endif
