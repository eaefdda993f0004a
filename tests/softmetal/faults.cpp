/* Faults that the processor or the clock find: the thread is taken out of the kernel, the process
 * goes on.
 *
 * A signal handler may do little, so it changes where the interrupted thread continues: in `leave`,
 * on a stack that is whole, which goes back to the worker as any other fault does.
 */
#include <csignal>
#include <cstdlib>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "worker.h"

namespace softmetal {

namespace {

using clock = std::chrono::steady_clock;

constexpr size_t SIGNAL_STACK = 65536;
enum { MAX_WORKERS = 256 };

struct sigaction previous_segv, previous_bus, previous_clock;

/* Threads that run kernels, for the clock. */
std::mutex threads_mutex;
struct {
    pthread_t thread;
    worker *w;
    clock::time_point since;
} watched[MAX_WORKERS];

void leave(machine *m) { give_up(m, ((worker *)m->host)->what); }

/* A stack pointer that overflowed may be anywhere; the page that it hit is the thread's own. */
u32 thread_of(const machine *m, u64 fault_address, u64 stack_pointer)
{
    const bool overflow = fault_address - ((u64)m - STACKS_BYTES) < STACKS_BYTES;
    return (u32)((overflow ? fault_address : stack_pointer) / STACK_BYTES % MAX_THREADS);
}

/* Makes the interrupted thread continue in leave(). */
void divert(ucontext_t *c, worker *w, incident_kind kind, u64 address)
{
    machine *m = w->m;
    /* The last thread's stack, unless it is the one in trouble: a fault has no use for what is on
     * it. */
    const u64 stack_top = ((u64)m - 256) & ~15ul;
    incident &i = w->what;

    i = incident();
    i.kind = kind;
    i.address = address;
#if defined(__x86_64__)
    auto &r = c->uc_mcontext.gregs;
    i.thread = thread_of(m, address, (u64)r[REG_RSP]);
    i.code = (u64)r[REG_RIP];
    i.access = r[REG_ERR] & 2 ? ACCESS_WRITE : ACCESS_READ;
    r[REG_RIP] = (greg_t)leave;
    r[REG_RSP] = (greg_t)(stack_top - 8);
    r[REG_RDI] = (greg_t)m;
#else
    auto &r = c->uc_mcontext;
    i.thread = thread_of(m, address, r.sp);
    i.code = r.pc;
    r.pc = (u64)leave;
    r.sp = stack_top;
    r.regs[0] = (u64)m;
#endif
}

u64 place_of(const ucontext_t *c)
{
#if defined(__x86_64__)
    return (u64)c->uc_mcontext.gregs[REG_RIP];
#else
    return c->uc_mcontext.pc;
#endif
}

void on_fault(int number, siginfo_t *info, void *context)
{
    if (running)
        return divert((ucontext_t *)context, running, incident_kind::memory_fault,
                      (u64)info->si_addr);
    /* The instruction runs again, into the handler that was there before. */
    sigaction(number, number == SIGSEGV ? &previous_segv : &previous_bus, nullptr);
}

/* Time is up. Only in a kernel's own code: elsewhere a lock may be held, and the clock will ask
 * again. The signal may be meant for another copy of this program in the same process: the tests'
 * own beside that of the Metal device. */
void on_clock(int number, siginfo_t *info, void *context)
{
    if (!running) {
        if (previous_clock.sa_flags & SA_SIGINFO)
            previous_clock.sa_sigaction(number, info, context);
        return;
    }
    ucontext_t *c = (ucontext_t *)context;
    const u64 at = place_of(c);
    if (at >= running->current->code->start_of_code &&
        at < running->current->code->end_of_code)
        divert(c, running, incident_kind::timed_out, 0);
}

std::atomic<double> seconds_allowed{120};

void watch_the_clock()
{
    for (;;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const std::lock_guard<std::mutex> lock(threads_mutex);
        const auto now = clock::now();
        for (const auto &t : watched)
            if (t.w && std::chrono::duration<double>(now - t.since).count() > seconds_allowed)
                pthread_kill(t.thread, SIGURG);
    }
}

/* Handlers need a stack of their own, since a kernel's may have overflowed. */
struct signal_stack {
    void *memory = nullptr;
    signal_stack()
    {
        stack_t own = {};
        sigaltstack(nullptr, &own);
        if (!(own.ss_flags & SS_DISABLE) && own.ss_size >= SIGNAL_STACK)
            return;
        memory =
            mmap(nullptr, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        own = {};
        own.ss_sp = memory;
        own.ss_size = SIGNAL_STACK;
        sigaltstack(&own, nullptr);
    }
    ~signal_stack()
    {
        if (!memory)
            return;
        stack_t none = {};
        none.ss_flags = SS_DISABLE;
        sigaltstack(&none, nullptr);
        munmap(memory, SIGNAL_STACK);
    }
};

} // namespace

thread_local worker *running;

void set_time_allowed()
{
    const char *own = getenv("SOFTMETAL_TIMEOUT");
    seconds_allowed = own && *own ? atof(own) : 120;
}

void catch_faults()
{
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &previous_segv);
        sigaction(SIGBUS, &action, &previous_bus);
        action.sa_sigaction = on_clock;
        action.sa_flags |= SA_RESTART;
        sigaction(SIGURG, &action, &previous_clock);
        std::thread(watch_the_clock).detach();
    });
}

watch::watch(worker *w) : w(w)
{
    static thread_local signal_stack stack;
    (void)stack;
    const std::lock_guard<std::mutex> lock(threads_mutex);
    for (auto &t : watched)
        if (!t.w) {
            t = {pthread_self(), w, clock::now()};
            break;
        }
}

watch::~watch()
{
    const std::lock_guard<std::mutex> lock(threads_mutex);
    for (auto &t : watched)
        if (t.w == w)
            t.w = nullptr;
}

} // namespace softmetal
