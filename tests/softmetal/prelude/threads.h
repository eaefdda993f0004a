/* How the threads of a threadgroup take turns.
 *
 * A thread runs until it needs others. The lanes of a SIMD group come to a rendezvous one after the
 * other; the last one does the group's work and goes on, the others go on when they are switched to
 * again, in turn. So a rendezvous costs one switch a lane, and all lanes pass the same ones.
 */
#ifndef SOFTMETAL_THREADS_H
#define SOFTMETAL_THREADS_H

#include "machine.h"
#include "switch.h"

#define SOFTMETAL_INLINE __attribute__((always_inline)) inline
/* Where the kernel's author wrote the call. */
#define SOFTMETAL_SITE unsigned line = __builtin_LINE(), const char *file = __builtin_FILE()

namespace softmetal {

SOFTMETAL_INLINE u64 stack_address()
{
    u64 address;
#if defined(__x86_64__)
    __asm__("movq %%rsp, %0" : "=r"(address));
#else
    __asm__("mov %0, sp" : "=r"(address));
#endif
    return address;
}

struct self {
    machine *m;
    u32 number; /* of the thread in its threadgroup */
    u32 lane;
    simd_group *group;

    SOFTMETAL_INLINE self()
    {
        const u64 address = stack_address();
        m = (machine *)((address & ~(REGION_BYTES - 1)) + STACKS_BYTES);
        number = (u32)(address / STACK_BYTES) % MAX_THREADS;
        lane = number % LANES;
        group = &m->groups[number / LANES];
    }
};

/* Meets the other lanes. True for the last one, which does what the lanes came for. */
SOFTMETAL_INLINE bool meet(const self &me, operation op, u32 line, const char *file)
{
    simd_group *g = me.group;
    const u64 site = (u64)op << 32 | line;

    if (g->arrived == 0) {
        g->site = site;
        g->file = file;
        g->expected_operations = g->matrix_operations[me.lane];
    }
    if (__builtin_expect(g->site != site || g->ended ||
                             g->expected_operations != g->matrix_operations[me.lane],
                         0))
        me.m->diverged(me.m, me.number, op, line, file);
    if (++g->arrived == g->lanes) {
        g->arrived = 0;
        g->parity ^= 1;
        return true;
    }
    const u32 next = me.lane + 1 == g->lanes ? me.number - me.lane : me.number + 1;
    softmetal_switch(&me.m->stack_pointer[me.number], me.m->stack_pointer[next]);
    return false;
}

/* The last lane of a group waits for the other groups. */
__attribute__((noinline)) inline void meet_groups(machine *m, u32 thread, u32 flags, u32 line,
                                                  const char *file)
{
    const u32 group = thread / LANES;
    const u64 site = (u64)OP_threadgroup_barrier << 32 | line;

    if (m->groups_at_barrier == 0) {
        m->barrier_site = site;
        m->barrier_file = file;
    }
    if (m->barrier_site != site || m->groups_ended)
        m->diverged(m, thread, OP_threadgroup_barrier, line, file);
    m->groups[group].last_lane = thread;
    if (++m->groups_at_barrier == m->n_groups) {
        m->groups_at_barrier = 0;
        if (m->passed_barrier)
            m->passed_barrier(m, thread, flags, true);
        return;
    }
    const u32 next = group + 1 == m->n_groups ? 0 : group + 1;
    softmetal_switch(&m->stack_pointer[thread], m->stack_pointer[m->groups[next].last_lane]);
}

/* The first function on a thread's stack. */
extern "C" __attribute__((visibility("default"))) void softmetal_start()
{
    const self me;
    machine *m = me.m;
    simd_group *g = me.group;

    m->entry(m, me.number);
    if (g->ended == 0)
        g->expected_operations = g->matrix_operations[me.lane];
    if (g->arrived || g->expected_operations != g->matrix_operations[me.lane])
        m->diverged(m, me.number, NO_OPERATION, 0, nullptr);
    u32 next = me.lane + 1 == g->lanes ? me.number - me.lane : me.number + 1;
    if (++g->ended == g->lanes) {
        m->groups_ended++;
        if (m->groups_at_barrier)
            m->diverged(m, me.number, NO_OPERATION, 0, nullptr);
        if (m->groups_ended == m->n_groups)
            softmetal_switch(&m->stack_pointer[me.number], m->host_stack_pointer);
        const u32 group = me.number / LANES;
        next = m->groups[group + 1 == m->n_groups ? 0 : group + 1].last_lane;
    }
    softmetal_switch(&m->stack_pointer[me.number], m->stack_pointer[next]);
    __builtin_trap();
}

} // namespace softmetal

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return (mem_flags)((int)a | (int)b); }

SOFTMETAL_INLINE void threadgroup_barrier(mem_flags flags, SOFTMETAL_SITE)
{
    const softmetal::self me;
    if (softmetal::meet(me, softmetal::OP_threadgroup_barrier, line, file))
        softmetal::meet_groups(me.m, me.number, (unsigned)flags, line, file);
}

SOFTMETAL_INLINE void simdgroup_barrier([[maybe_unused]] mem_flags flags, SOFTMETAL_SITE)
{
    const softmetal::self me;
    if (softmetal::meet(me, softmetal::OP_simdgroup_barrier, line, file)) {
#ifdef SOFTMETAL_CHECKED
        me.m->passed_barrier(me.m, me.number, (unsigned)flags, false);
#endif
    }
}

} // namespace metal
#endif
