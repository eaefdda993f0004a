/* What went wrong in a threadgroup: noted where it happened, put into words on the host's own
 * stack. */
#ifndef SOFTMETAL_INCIDENT_H
#define SOFTMETAL_INCIDENT_H

#include <string>

#include "prelude/machine.h"

namespace softmetal {

enum class incident_kind {
    none,
    diverged,        /* at a rendezvous */
    memory_fault,    /* of the processor: a guard page, or no memory at all */
    out_of_bounds,   /* of every binding */
    unwritten,       /* a read of threadgroup memory */
    race,            /* with an access by `other` */
    too_much_memory, /* of threadgroup variables */
    misaligned,
    timed_out,
};

/* Who accessed memory, and when: enough to tell whether a barrier lies between two accesses. */
struct stamp {
    u32 dispatch = 0;    /* number of the dispatch, counted from 1; 0: nobody */
    u32 threadgroup = 0; /* its linear index */
    u16 interval = 0;    /* barriers of the threadgroup for this kind of memory so far */
    u16 turn = 0;        /* barriers of the SIMD group */
    u16 thread = 0;
    u8 mask = 0;         /* bytes of the granule */
    u8 many : 1;         /* other threads of the same SIMD group did the same */
    u8 atomic : 1;
    stamp() : many(0), atomic(0) {}
};

struct incident {
    incident_kind kind = incident_kind::none;
    u32 thread = 0;
    u32 operation = 0, line = 0; /* diverged, too_much_memory, misaligned */
    const char *file = nullptr;
    u64 address = 0, bytes = 0;
    u32 access = ACCESS_READ;
    u64 code = 0; /* address of the instruction, or 0 */
    stamp other;
    bool other_wrote = false;
};

struct worker;

/* The whole sentence: kernel, place in the text, thread, threadgroup, fault. */
std::string describe(const worker &w, const incident &i);

/* file:line of an instruction of a program, as debug information has it: the innermost place in the
 * kernels' own text. "" if it cannot be told. */
std::string place_of_code(u64 code);

} // namespace softmetal
#endif
