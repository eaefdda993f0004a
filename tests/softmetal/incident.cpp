#include "incident.h"

#include <dlfcn.h>

#include <cstdio>
#include <sstream>

#include "process.h"
#include "worker.h"

namespace softmetal {

namespace {

const char *const operation_names[] = {
    "its end",
#define OPERATION(name) #name,
#include "prelude/operations.def"
};

std::string text_place(const char *file, u32 line)
{
    return std::string(file) + ":" + std::to_string(line);
}

std::string rendezvous(u64 site, const char *file)
{
    const std::string name = operation_names[site >> 32];
    return site >> 32 ? name + " (" + text_place(file, (u32)site) + ")" : name;
}

std::string triple(u32 a, u32 b, u32 c)
{
    return "(" + std::to_string(a) + ", " + std::to_string(b) + ", " + std::to_string(c) + ")";
}

std::string thread_name(const machine *m, u32 t)
{
    return triple(t % m->threads[0], t / m->threads[0] % m->threads[1],
                  t / (m->threads[0] * m->threads[1]));
}

std::string group_name(const machine *m, u32 g)
{
    return triple(g % m->threadgroups[0], g / m->threadgroups[0] % m->threadgroups[1],
                  g / (m->threadgroups[0] * m->threadgroups[1]));
}

std::string divergence(const machine *m, const incident &i)
{
    const simd_group &g = m->groups[i.thread / LANES];
    const std::string own =
        ", this thread at " + rendezvous((u64)i.operation << 32 | i.line, i.file);

    if (g.arrived && g.site == ((u64)i.operation << 32 | i.line))
        return "divergent SIMD operation: lanes of one SIMD group have done different numbers of "
               "simdgroup_matrix "
               "operations before " +
               rendezvous(g.site, g.file);
    if (g.arrived)
        return std::string(g.site >> 32 == OP_threadgroup_barrier ? "divergent barrier"
                                                                  : "divergent SIMD operation") +
               ": lanes of one SIMD group are at " + rendezvous(g.site, g.file) + own;
    if (m->groups_at_barrier)
        return "divergent barrier: other SIMD groups are at " +
               rendezvous(m->barrier_site, m->barrier_file) + own;
    return std::string(i.operation == OP_threadgroup_barrier ? "divergent barrier"
                                                             : "divergent SIMD operation") +
           ": other threads have ended" + own;
}

const char *verb(u32 access)
{
    return access == ACCESS_READ ? "reads" : access == ACCESS_ATOMIC ? "updates" : "writes";
}

/* "writes 4 bytes at byte 256 of buffer(0) 'y' (256 bytes)" */
std::string memory_access(const checker &names, const incident &i)
{
    char address[32];
    long offset;
    const std::string name = names.name_of(i.address, offset);
    snprintf(address, sizeof address, "%#lx", i.address);
    const std::string count =
        i.bytes ? std::to_string(i.bytes) + (i.bytes == 1 ? " byte " : " bytes ") : "";
    return std::string(verb(i.access)) + " " + count + "at " +
           (name.empty() ? std::string("address ") + address
                         : "byte " + std::to_string(offset) + " of " + name);
}

std::string race(const checker &names, const machine *m, const incident &i, u32 group)
{
    const std::string what = memory_access(names, i), other = i.other_wrote ? "wrote" : "read";
    if (names.is_current(i.other) && i.other.threadgroup == group)
        return "data race: " + what + ", which thread " + thread_name(m, i.other.thread) + " " +
               other + ", with no barrier between";
    if (names.is_current(i.other))
        return "data race: " + what + ", which threadgroup " + group_name(m, i.other.threadgroup) +
               " " + other;
    return "missing barrier between dispatches: " + what + ", which kernel " +
           names.kernel_of(i.other.dispatch) + " " + other + " since the last one";
}

std::string fault(const worker &w, const incident &i, u32 group)
{
    const machine *m = w.m;
    checker bindings;
    if (!w.current->checks)
        bindings.begin_dispatch(*w.current->dispatch, 0, 0);
    const checker &names = w.current->checks ? *w.current->checks : bindings;

    switch (i.kind) {
    case incident_kind::diverged:
        return divergence(m, i);
    case incident_kind::out_of_bounds:
        return "out of bounds: " + memory_access(names, i);
    case incident_kind::memory_fault:
        if (i.address - ((u64)m - STACKS_BYTES) < STACKS_BYTES)
            return "stack overflow: a thread's variables need more than " +
                   std::to_string(STACK_BYTES - 4096) + " bytes";
        return "out of bounds: " + memory_access(names, i);
    case incident_kind::unwritten:
        return "reads threadgroup memory that nobody wrote: " + memory_access(names, i);
    case incident_kind::race:
        return race(names, m, i, group);
    case incident_kind::too_much_memory:
        return std::to_string(i.bytes) + " bytes of threadgroup memory exceed the limit of " +
               std::to_string(THREADGROUP_LIMIT);
    case incident_kind::misaligned:
        return "misaligned: a pointer to a type of larger alignment is used " +
               memory_access(names, i);
    default:
        return "runs longer than the time allowed: an endless loop?";
    }
}

/* Programs that turn addresses into lines, with the same options and output. */
std::string find_lines(const std::string &file, u64 offset)
{
    char address[32];
    snprintf(address, sizeof address, "%#lx", offset);
    for (const char *tool : {"llvm-addr2line-19", "llvm-addr2line", "addr2line"}) {
        std::string output;
        if (run_program({tool, "-i", "-e", file, address}, output) == 0)
            return output;
    }
    return "";
}

} // namespace

std::string place_of_code(u64 code)
{
    Dl_info info;
    if (!code || !dladdr((void *)code, &info) || !info.dli_fname)
        return "";
    std::istringstream lines(find_lines(info.dli_fname, code - (u64)info.dli_fbase));
    std::string line;
    while (std::getline(lines, line))
        if (line.find(PRELUDE_IN_LINES) == std::string::npos &&
            line.find("??") == std::string::npos)
            return line.substr(line[0] == '/' ? line.rfind('/') + 1 : 0, line.find(" (") - 0);
    return "";
}

std::string describe(const worker &w, const incident &i)
{
    const u32 group =
        (w.m->position[2] * w.m->threadgroups[1] + w.m->position[1]) * w.m->threadgroups[0] +
        w.m->position[0];
    std::string place = i.file ? text_place(i.file, i.line) : place_of_code(i.code);
    return w.current->kernel + (place.empty() ? "" : ", " + place) + ", thread " +
           thread_name(w.m, i.thread) + " of threadgroup " + group_name(w.m, group) + ": " +
           fault(w, i, group);
}

} // namespace softmetal
