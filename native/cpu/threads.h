/* A pool of threads that run one job together and meet at barriers. */
#ifndef SMELT_THREADS_H
#define SMELT_THREADS_H

typedef struct thread_pool thread_pool;

thread_pool *pool_create(int n_threads); /* the caller is thread 0; NULL on failure */
void pool_destroy(thread_pool *pool);
int pool_threads(const thread_pool *pool);
int pool_forked(const thread_pool *pool); /* 1 in a child process, which has none of the threads */
void pool_run(thread_pool *pool, void (*job)(void *argument, int thread), void *argument);
void pool_barrier(thread_pool *pool); /* inside a job: returns when every thread is there */

#endif
