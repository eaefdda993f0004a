#include "worker.h"

#include <sys/mman.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <thread>
#include <vector>

#include "prelude/switch.h"

namespace softmetal {

namespace {

const char *const operation_names[] = {
    "its end",
#define OPERATION(name) #name,
#include "prelude/operations.def"
};

worker *owner(machine *m) { return (worker *)m->host; }

std::string site_name(u32 operation, u32 line, const char *file)
{
    std::string name = operation_names[operation];
    return operation ? name + " at " + file + ":" + std::to_string(line) : name;
}

void diverged(machine *m, u32 thread, u32 operation, u32 line, const char *file)
{
    execution &e = *owner(m)->current;
    const simd_group &g = m->groups[thread / LANES];
    std::string what;

    if (g.arrived && (u32)(g.site >> 32) != OP_threadgroup_barrier)
        what = "divergent SIMD operation: lanes of one SIMD group are at " +
               site_name((u32)(g.site >> 32), (u32)g.site, g.file);
    else if (g.arrived)
        what = "divergent barrier: threads of one SIMD group are at " +
               site_name((u32)(g.site >> 32), (u32)g.site, g.file);
    else if (m->groups_at_barrier)
        what = "divergent barrier: other SIMD groups are at " +
               site_name((u32)(m->barrier_site >> 32), (u32)m->barrier_site, m->barrier_file);
    else
        what = std::string(operation == OP_threadgroup_barrier ? "divergent barrier" : "divergent SIMD operation") +
               ": other threads have ended";
    e.fail(e.kernel() + ", " + place_of(m, thread) + ": " + what + ", this thread is at " +
           site_name(operation, line, file));
    abandon(m);
}

void *static_variable(machine *m, u32 thread, u32 id, u64 bytes, u64 alignment, u32 line, const char *file)
{
    worker *w = owner(m);
    const u64 start = (w->threadgroup_used + alignment - 1) / alignment * alignment;

    if (id >= STATIC_VARIABLES || start + bytes > THREADGROUP_LIMIT) {
        w->current->fail(w->current->kernel() + ", " + file + ":" + std::to_string(line) + ": " +
                         std::to_string(start + bytes) + " bytes of threadgroup memory exceed the limit of " +
                         std::to_string(THREADGROUP_LIMIT));
        abandon(m);
    }
    (void)thread;
    w->threadgroup_used = start + bytes;
    m->statics[id] = w->threadgroup_memory + start;
    memset(m->statics[id], 0xff, bytes);
    return m->statics[id];
}

/* Memory for a region, aligned to its size; the lowest page of every stack is a guard. */
machine *map_region()
{
    u8 *p = (u8 *)mmap(nullptr, 2 * REGION_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return nullptr;
    u8 *start = (u8 *)(((u64)p + REGION_BYTES - 1) & ~(REGION_BYTES - 1));
    const u64 page = (u64)sysconf(_SC_PAGESIZE);

    if (start > p)
        munmap(p, (u64)(start - p));
    munmap(start + REGION_BYTES, (u64)(p + REGION_BYTES - start));
    for (u64 i = 0; i < MAX_THREADS; i++)
        if (mprotect(start + i * STACK_BYTES + page, STACK_BYTES - page, PROT_READ | PROT_WRITE) != 0)
            return nullptr;
    const u64 size = (sizeof(machine) + page - 1) / page * page;
    if (mprotect(start + STACKS_BYTES, size, PROT_READ | PROT_WRITE) != 0)
        return nullptr;
    return (machine *)(start + STACKS_BYTES);
}

} // namespace

void execution::fail(const std::string &what)
{
    const std::lock_guard<std::mutex> lock(mutex);
    if (!failed.exchange(true))
        text = what;
}

void abandon(machine *m)
{
    void *unused;
    softmetal_switch(&unused, m->host_stack_pointer);
    __builtin_unreachable();
}

std::string place_of(const machine *m, u32 thread)
{
    const u32 x = thread % m->threads[0], y = thread / m->threads[0] % m->threads[1];
    const u32 z = thread / (m->threads[0] * m->threads[1]);
    const auto triple = [](u32 a, u32 b, u32 c) {
        return "(" + std::to_string(a) + ", " + std::to_string(b) + ", " + std::to_string(c) + ")";
    };
    return "thread " + triple(x, y, z) + " of threadgroup " +
           triple(m->position[0], m->position[1], m->position[2]);
}

bool worker::prepare()
{
    if (!m) {
        m = map_region();
        threadgroup_memory = (u8 *)msl_allocate(THREADGROUP_LIMIT);
        if (!m || !threadgroup_memory)
            return false;
        m->host = this;
        m->diverged = diverged;
        m->static_variable = static_variable;
        catch_memory_faults();
    }
    return true;
}

void worker::run(execution &e)
{
    if (!prepare())
        return e.fail("softmetal: no memory for stacks");
    const msl_dispatch &d = *e.dispatch;

    m->entry = e.code->entry;
    memcpy(m->threads, d.threads, sizeof m->threads);
    memcpy(m->threadgroups, d.threadgroups, sizeof m->threadgroups);
    m->n_threads = d.threads[0] * d.threads[1] * d.threads[2];
    m->n_groups = (m->n_threads + LANES - 1) / LANES;
    for (u64 i = 0; i < BINDINGS; i++)
        m->buffers[i] = (u8 *)d.buffers[i].address;
    current = &e;
    watch_for_faults(this);
    for (u32 i; !e.failed && (i = e.next++) < e.count;)
        run_threadgroup(e, i);
    watch_for_faults(nullptr);
    current = nullptr;
}

void worker::run_threadgroup(execution &e, u32 index)
{
    const msl_dispatch &d = *e.dispatch;

    m->position[0] = index % d.threadgroups[0];
    m->position[1] = index / d.threadgroups[0] % d.threadgroups[1];
    m->position[2] = index / d.threadgroups[0] / d.threadgroups[1];
    threadgroup_used = 0;
    for (u64 i = 0; i < BINDINGS; i++) {
        m->threadgroup_memory[i] = threadgroup_memory + threadgroup_used;
        threadgroup_used += (d.threadgroup_bytes[i] + 15) / 16 * 16;
    }
    memset(threadgroup_memory, 0xff, threadgroup_used);
    memset(m->statics, 0, sizeof m->statics);
    m->groups_ended = m->groups_at_barrier = 0;
    for (u32 g = 0; g < m->n_groups; g++) {
        simd_group &group = m->groups[g];
        group.parity = group.arrived = group.ended = 0;
        group.lanes = m->n_threads - g * LANES < LANES ? m->n_threads - g * LANES : (u32)LANES;
        group.last_lane = g * LANES;
        memset(group.matrix_operations, 0, sizeof group.matrix_operations);
    }
    u8 *stacks = (u8 *)m - STACKS_BYTES;
    for (u32 t = 0; t < m->n_threads; t++)
        m->stack_pointer[t] =
            fresh_stack(stacks + (t + 1) * STACK_BYTES - t % COLOURS * COLOUR_BYTES, e.code->start);
    softmetal_switch(&m->host_stack_pointer, m->stack_pointer[0]);
}

namespace {

/* Threads that wait for executions; made when first needed, and there until the process ends. */
class pool {
  public:
    void run(execution &e, int n)
    {
        while ((int)helpers.size() < n - 1) {
            helpers.emplace_back(new worker);
            std::thread(&pool::serve, this, helpers.back(), (int)helpers.size() - 1).detach();
        }
        {
            const std::lock_guard<std::mutex> lock(mutex);
            job = &e;
            wanted = n - 1;
            busy = n - 1;
            round++;
        }
        if (n > 1)
            wake.notify_all();
        own.run(e);
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [this] { return busy == 0; });
    }

  private:
    worker own;
    std::vector<worker *> helpers;
    std::mutex mutex;
    std::condition_variable wake, done;
    execution *job = nullptr;
    int wanted = 0, busy = 0;
    unsigned long round = 0;

    void serve(worker *w, int number)
    {
        unsigned long seen = 0;
        for (;;) {
            execution *e;
            {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return round != seen && number < wanted; });
                seen = round;
                e = job;
            }
            w->run(*e);
            const std::lock_guard<std::mutex> lock(mutex);
            if (--busy == 0)
                done.notify_all();
        }
    }
};

} // namespace

void run_on_workers(execution &e, int n)
{
    static pool *workers = new pool; /* never destroyed: its threads outlive main */
    workers->run(e, e.count < 2 ? 1 : n);
}

} // namespace softmetal
