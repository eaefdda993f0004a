/* A worker: the region of one threadgroup at a time, and the dispatch that it serves. */
#ifndef SOFTMETAL_WORKER_H
#define SOFTMETAL_WORKER_H

#include <atomic>
#include <mutex>
#include <string>

#include "executor.h"
#include "prelude/machine.h"

namespace softmetal {

struct program { /* a kernel in machine code */
    void *handle;
    void (*entry)(machine *, u32);
    void (*start)();
    const bool *present; /* of each parameter of the kernel: function constants decide */
};

/* A dispatch while it runs. */
struct execution {
    const msl_dispatch *dispatch;
    const program *code;
    std::atomic<u32> next{0}; /* threadgroup */
    u32 count;
    std::atomic<bool> failed{false};
    std::mutex mutex; /* of the text */
    std::string text;

    /* The first fault counts. */
    void fail(const std::string &what);
    std::string kernel() const { return std::string("kernel ") + dispatch->function->name; }
};

struct worker {
    machine *m = nullptr;
    execution *current = nullptr;
    u8 *threadgroup_memory = nullptr; /* THREADGROUP_LIMIT bytes up to a guard page */
    u64 threadgroup_used = 0;
    void *signal_stack = nullptr;

    /* Runs threadgroups of an execution until none is left. */
    void run(execution &e);

  private:
    bool prepare();
    void run_threadgroup(execution &e, u32 index);
};

/* Hands an execution to n workers, the calling thread being one of them; returns when all is done. */
void run_on_workers(execution &e, int n);

/* Turns a memory fault of a kernel into a fault of its execution. */
void catch_memory_faults();
void watch_for_faults(worker *w); /* of this thread; NULL: it runs no kernel */

/* Leaves the threadgroup: to be called on a thread's stack. */
[[noreturn]] void abandon(machine *m);

std::string place_of(const machine *m, u32 thread);

} // namespace softmetal
#endif
