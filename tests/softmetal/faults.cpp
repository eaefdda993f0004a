/* Memory faults of kernels: caught, described, and the threadgroup given up. */
#include <csignal>
#include <cstdio>
#include <dlfcn.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <mutex>

#include "worker.h"

namespace softmetal {

namespace {

constexpr size_t SIGNAL_STACK = 65536;

__thread worker *running; /* whose kernel this thread is in */
__thread u64 fault_address, fault_code;
struct sigaction previous_segv, previous_bus;

void describe_fault(machine *m, u64 thread)
{
    execution &e = *((worker *)m->host)->current;
    char text[256];
    snprintf(text, sizeof text, "access out of bounds at address %#lx", fault_address);
    e.fail(e.kernel() + ", " + place_of(m, (u32)thread) + ": " + text);
    abandon(m);
}

/* Leaves the handler into describe_fault, on a stack that is whole. */
void on_fault(int number, siginfo_t *info, void *context)
{
    worker *w = running;
    if (!w) {
        const struct sigaction &previous = number == SIGSEGV ? previous_segv : previous_bus;
        sigaction(number, &previous, nullptr); /* the instruction runs again, into the previous handler */
        return;
    }
    ucontext_t *c = (ucontext_t *)context;
    machine *m = w->m;
    const u64 spare = (u64)m - STACKS_BYTES + MAX_THREADS * STACK_BYTES - 256;
    fault_address = (u64)info->si_addr;
#if defined(__x86_64__)
    const u64 stack = (u64)c->uc_mcontext.gregs[REG_RSP];
    fault_code = (u64)c->uc_mcontext.gregs[REG_RIP];
    c->uc_mcontext.gregs[REG_RIP] = (greg_t)describe_fault;
    c->uc_mcontext.gregs[REG_RSP] = (greg_t)((spare & ~15ul) - 8);
    c->uc_mcontext.gregs[REG_RDI] = (greg_t)m;
    c->uc_mcontext.gregs[REG_RSI] = (greg_t)(stack / STACK_BYTES % MAX_THREADS);
#else
    const u64 stack = c->uc_mcontext.sp;
    fault_code = c->uc_mcontext.pc;
    c->uc_mcontext.pc = (u64)describe_fault;
    c->uc_mcontext.sp = spare & ~15ul;
    c->uc_mcontext.regs[0] = (u64)m;
    c->uc_mcontext.regs[1] = stack / STACK_BYTES % MAX_THREADS;
#endif
}

} // namespace

void catch_memory_faults()
{
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &previous_segv);
        sigaction(SIGBUS, &action, &previous_bus);
    });
}

void watch_for_faults(worker *w)
{
    if (w && !w->signal_stack) {
        w->signal_stack = mmap(nullptr, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        stack_t s = {};
        s.ss_sp = w->signal_stack;
        s.ss_size = SIGNAL_STACK;
        sigaltstack(&s, nullptr);
    }
    running = w;
}

} // namespace softmetal
