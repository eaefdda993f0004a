#include "worker.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "prelude/switch.h"

namespace softmetal {

namespace {

worker *owner(machine *m) { return (worker *)m->host; }

void diverged(machine *m, u32 thread, u32 operation, u32 line, const char *file)
{
    incident i;
    i.kind = incident_kind::diverged;
    i.thread = thread, i.operation = operation, i.line = line, i.file = file;
    give_up(m, i);
}

void misaligned(machine *m, u32 thread, u64 address, u32 line, const char *file)
{
    incident i;
    i.kind = incident_kind::misaligned;
    i.thread = thread, i.address = address, i.line = line, i.file = file;
    give_up(m, i);
}

void *static_variable(machine *m, u32 thread, u32 id, u64 bytes, u64 alignment, u32 line,
                      const char *file)
{
    worker *w = owner(m);
    if (id < STATIC_VARIABLES)
        m->statics[id] = w->take_threadgroup_memory(bytes, alignment, "a threadgroup variable");
    if (id < STATIC_VARIABLES && m->statics[id])
        return m->statics[id];
    incident i;
    i.kind = incident_kind::too_much_memory;
    i.thread = thread, i.line = line, i.file = file;
    i.bytes = w->threadgroup_bytes;
    give_up(m, i);
}

void access(machine *m, u32 thread, u64 address, u64 bytes, u32 kind, void *return_address)
{
    incident i;
    i.thread = thread, i.address = address, i.bytes = bytes, i.access = kind;
    i.code = (u64)return_address - 1;
    if (!owner(m)->current->checks->access(i))
        give_up(m, i);
}

void passed_barrier(machine *m, u32 thread, u32 flags, bool all)
{
    owner(m)->current->checks->pass_barrier(thread, flags, all);
}

/* Memory for a region, aligned to its size; the lowest page of every stack is a guard. */
machine *map_region()
{
    u8 *p = (u8 *)mmap(nullptr, 2 * REGION_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return nullptr;
    u8 *start = (u8 *)(((u64)p + REGION_BYTES - 1) & ~(REGION_BYTES - 1));
    const u64 page = (u64)sysconf(_SC_PAGESIZE);

    if (start > p)
        munmap(p, (u64)(start - p));
    munmap(start + REGION_BYTES, (u64)(p + REGION_BYTES - start));
    for (u64 i = 0; i < MAX_THREADS; i++)
        if (mprotect(start + i * STACK_BYTES + page, STACK_BYTES - page, PROT_READ | PROT_WRITE) !=
            0)
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

void give_up(machine *m, const incident &what)
{
    void *unused;
    owner(m)->what = what;
    softmetal_switch(&unused, m->host_stack_pointer);
    __builtin_unreachable();
}

bool worker::prepare()
{
    if (m)
        return true;
    machine *own = map_region();
    if (!own)
        return false;
    own->threadgroup_base = (u8 *)msl_allocate(THREADGROUP_SPACE);
    if (!own->threadgroup_base)
        return false;
    m = own;
    m->host = this;
    m->diverged = diverged;
    m->misaligned = misaligned;
    m->static_variable = static_variable;
    m->access = access;
    catch_faults();
    return true;
}

void worker::run(execution &e)
{
    if (!prepare())
        return e.fail("softmetal: no memory for the stacks of a threadgroup");
    const msl_dispatch &d = *e.dispatch;

    m->entry = e.code->entry;
    m->passed_barrier = e.checks ? passed_barrier : nullptr;
    memcpy(m->threads, d.threads, sizeof m->threads);
    memcpy(m->threadgroups, d.threadgroups, sizeof m->threadgroups);
    m->n_threads = d.threads[0] * d.threads[1] * d.threads[2];
    m->n_groups = (m->n_threads + LANES - 1) / LANES;
    for (u64 i = 0; i < BINDINGS; i++)
        m->buffers[i] = (u8 *)d.buffers[i].address;
    current = &e;
    const watch watched(this);
    for (u32 i; !e.failed && (i = e.next++) < e.count;) {
        what.kind = incident_kind::none;
        run_threadgroup(e, i);
        if (what.kind != incident_kind::none)
            e.fail(describe(*this, what));
    }
    current = nullptr;
}

u8 *worker::take_threadgroup_memory(u64 bytes, u64 alignment, const std::string &name)
{
    alignment = alignment < 16 ? 16 : alignment;
    const u64 start = (threadgroup_end + alignment - 1) / alignment * alignment;
    threadgroup_bytes += (bytes + 15) / 16 * 16;
    if (threadgroup_bytes > THREADGROUP_LIMIT || start + bytes > THREADGROUP_SPACE)
        return nullptr;
    threadgroup_end = start + bytes + THREADGROUP_GAP;
    u8 *p = m->threadgroup_base + start;
    memset(p, 0xff, bytes);
    if (current->checks)
        current->checks->add_threadgroup_memory((u64)p, bytes, name);
    return p;
}

void worker::run_threadgroup(execution &e, u32 index)
{
    const msl_dispatch &d = *e.dispatch;

    m->position[0] = index % d.threadgroups[0];
    m->position[1] = index / d.threadgroups[0] % d.threadgroups[1];
    m->position[2] = index / d.threadgroups[0] / d.threadgroups[1];
    if (e.checks)
        e.checks->begin_threadgroup(m, index);
    threadgroup_end = threadgroup_bytes = 0;
    for (u64 i = 0; i < BINDINGS; i++)
        if (d.threadgroup_bytes[i])
            m->threadgroup_memory[i] = take_threadgroup_memory(
                d.threadgroup_bytes[i], 16, "threadgroup(" + std::to_string(i) + ")");
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
    running = this;
    softmetal_switch(&m->host_stack_pointer, m->stack_pointer[0]);
    running = nullptr;
}

} // namespace softmetal
