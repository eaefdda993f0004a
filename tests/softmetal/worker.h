/* A worker: the region of one threadgroup at a time, and the dispatch that it serves. */
#ifndef SOFTMETAL_WORKER_H
#define SOFTMETAL_WORKER_H

#include <atomic>
#include <mutex>
#include <string>

#include "checks.h"
#include "executor.h"
#include "incident.h"

namespace softmetal {

struct program { /* a kernel in machine code */
    void *handle;
    u64 start_of_code, end_of_code;
    void (*entry)(machine *, u32);
    void (*start)();
    const bool *present; /* of each parameter of the kernel: function constants decide */
};

/* A dispatch while it runs. */
struct execution {
    const msl_dispatch *dispatch = nullptr;
    const program *code = nullptr;
    std::string kernel; /* its name and place in the text */
    checker *checks = nullptr; /* checked mode */
    u32 count = 0;
    std::atomic<u32> next{0}; /* threadgroup */
    std::atomic<bool> failed{false};
    std::mutex mutex; /* of the text */
    std::string text;

    /* The first fault counts. */
    void fail(const std::string &what);
};

struct worker {
    machine *m = nullptr;
    execution *current = nullptr;
    incident what; /* ended the threadgroup, unless its kind is none */
    u64 threadgroup_end = 0;  /* of the pieces of threadgroup memory so far, from its base */
    u64 threadgroup_bytes = 0; /* in them */

    /* Runs threadgroups of an execution until none is left. */
    void run(execution &e);

    /* A piece of threadgroup memory, filled so that a read before a write gives NaN. NULL: the
     * limit. */
    u8 *take_threadgroup_memory(u64 bytes, u64 alignment, const std::string &name);

  private:
    bool prepare();
    void run_threadgroup(execution &e, u32 index);
};

/* Leaves the threadgroup: to be called on a thread's stack. */
[[noreturn]] void give_up(machine *m, const incident &what);

/* Hands an execution to n workers, the calling thread being one of them; returns when all is done.
 */
void run_on_workers(execution &e, int n);

/* How long a dispatch may take: $SOFTMETAL_TIMEOUT seconds, or 120. */
void set_time_allowed();

/* Turns a memory fault or an endless loop of a kernel into an incident. */
void catch_faults();
extern thread_local worker *running; /* whose kernel this thread is in, for the handlers */

/* While it lives, this thread works for `w`, and the clock looks at it. */
struct watch {
    explicit watch(worker *w);
    ~watch();

  private:
    worker *w;
};

} // namespace softmetal
#endif
