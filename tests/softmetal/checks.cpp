#include "checks.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace softmetal {

void checker::begin_dispatch(const msl_dispatch &d, u64 start, u64 end)
{
    const msl_function &f = *d.function;
    ranges.clear();
    for (int i = 0; i < f.n_arguments; i++) {
        const msl_argument &a = f.arguments[i];
        const msl_binding &b = d.buffers[a.index];
        if (a.kind != MSL_THREADGROUP && b.address)
            ranges.push_back({(u64)b.address, (u64)b.address + b.length,
                              "buffer(" + std::to_string(a.index) + ") '" + a.name + "'"});
    }
    for (int i = 0; i < d.n_resident; i++)
        ranges.push_back({(u64)d.resident[i].address,
                          (u64)d.resident[i].address + d.resident[i].length,
                          "resident memory " + std::to_string(i)});
    code_start = start, code_end = end;
    dispatch++;
    if (d.epoch != epoch) {
        epoch = d.epoch;
        first_of_epoch = dispatch; /* what came before matters no more */
        names.clear();
        if (pages.size() > MANY_PAGES)
            forget();
    }
    names[dispatch] = std::string(f.name) + " (dispatch " + std::to_string(d.dispatch) + ")";
}

void checker::begin_threadgroup(const machine *m, u32 index)
{
    memory_start = (u64)m->threadgroup_base, memory_end = memory_start + THREADGROUP_SPACE;
    threadgroup = index;
    device_interval = threadgroup_interval = 0;
    memset(device_turn, 0, sizeof device_turn);
    memset(threadgroup_turn, 0, sizeof threadgroup_turn);
    written.assign(THREADGROUP_SPACE, 0);
    pieces.clear();
}

void checker::add_threadgroup_memory(u64 start, u64 bytes, const std::string &name)
{
    pieces.push_back({start, start + bytes, name});
}

void checker::pass_barrier(u32 thread, u32 flags, bool all)
{
    u16 &of_device = all ? device_interval : device_turn[thread / LANES];
    u16 &of_threadgroup = all ? threadgroup_interval : threadgroup_turn[thread / LANES];
    of_device = (u16)(of_device + (flags & 1));
    of_threadgroup = (u16)(of_threadgroup + (flags >> 1 & 1));
}

bool checker::is_threadgroup_memory(u64 address) const
{
    return address >= memory_start && address < memory_end;
}

std::string checker::name_of(u64 address, long &offset) const
{
    const memory_range *best = nullptr;
    u64 distance = ~0ul;
    for (const auto *list : {&ranges, &pieces})
        for (const memory_range &r : *list) {
            const u64 d = address < r.start  ? r.start - address
                          : address >= r.end ? address - r.end + 1
                                             : 0;
            if (d < distance)
                distance = d, best = &r;
        }
    if (!best || distance > 1ul << 32)
        return "";
    offset = (long)(address - best->start);
    return best->name + " (" + std::to_string(best->end - best->start) + " bytes)";
}

bool checker::access(incident &found)
{
    return check_bounds(found) && check_written(found) && check_races(found);
}

bool checker::check_bounds(incident &found) const
{
    const u64 start = found.address, end = start + found.bytes;
    if (start >= code_start && end <= code_end && found.access == ACCESS_READ)
        return true; /* tables of the program */
    for (const memory_range &r : is_threadgroup_memory(start) ? pieces : ranges)
        if (start >= r.start && end <= r.end)
            return true;
    found.kind = incident_kind::out_of_bounds;
    return false;
}

bool checker::check_written(incident &found)
{
    if (!is_threadgroup_memory(found.address))
        return true;
    u8 *own = &written[found.address - memory_start];
    if (found.access == ACCESS_WRITE || found.access == ACCESS_ATOMIC_STORE) {
        memset(own, 1, found.bytes);
        return true;
    }
    if (std::count(own, own + found.bytes, 1) == (long)found.bytes)
        return true;
    found.kind = incident_kind::unwritten;
    return false;
}

/* Whether no barrier orders two accesses, of which one at least is a write. */
bool checker::conflicts(const stamp &earlier, const stamp &now, bool in_threadgroup) const
{
    if (earlier.dispatch < first_of_epoch || !(earlier.mask & now.mask) ||
        (earlier.atomic && now.atomic))
        return false;
    if (earlier.dispatch != now.dispatch || earlier.threadgroup != now.threadgroup)
        return !in_threadgroup; /* threadgroup memory is another threadgroup's then */
    if (earlier.interval != now.interval)
        return false;
    if (earlier.thread / LANES == now.thread / LANES && earlier.turn != now.turn)
        return false;
    return earlier.thread != now.thread || earlier.many;
}

void checker::note_read(cell &c, const stamp &now)
{
    stamp &r = c.read;
    const bool near = r.dispatch == now.dispatch && r.threadgroup == now.threadgroup &&
                      r.thread / LANES == now.thread / LANES;
    if (near && r.interval == now.interval && r.turn == now.turn) {
        r.many |= r.thread != now.thread;
        r.mask |= now.mask;
        return;
    }
    if (!near)
        c.other_read = r;
    r = now;
}

bool checker::check_races(incident &found)
{
    const bool in_threadgroup = is_threadgroup_memory(found.address);
    const u32 group = found.thread / LANES;
    const u64 end = found.address + found.bytes;
    stamp now;

    if (found.address >= code_start && found.address < code_end)
        return true;
    now.dispatch = dispatch, now.threadgroup = threadgroup, now.thread = (u16)found.thread;
    now.interval = in_threadgroup ? threadgroup_interval : device_interval;
    now.turn = in_threadgroup ? threadgroup_turn[group] : device_turn[group];
    now.atomic = found.access >= ACCESS_ATOMIC;
    for (u64 a = found.address & ~(u64)(GRANULE - 1); a < end; a += GRANULE) {
        cell &c = cells_of(a)[a % PAGE / GRANULE];
        now.mask = (u8)((a >= found.address ? 1 : 0) | (a + 1 < end ? 2 : 0));
        found.kind = incident_kind::race;
        found.other_wrote = true;
        if (conflicts(c.write, now, in_threadgroup)) {
            found.other = c.write;
            return false;
        }
        if (found.access == ACCESS_READ) {
            note_read(c, now);
            continue;
        }
        found.other_wrote = false;
        for (const stamp *r : {&c.read, &c.other_read})
            if (conflicts(*r, now, in_threadgroup)) {
                found.other = *r;
                return false;
            }
        c.write = now;
        if (now.mask == 3)
            c.read = c.other_read = stamp();
    }
    found.kind = incident_kind::none;
    return true;
}

void checker::forget()
{
    for (const auto &[page, cells] : pages)
        munmap(cells, PAGE / GRANULE * sizeof(cell));
    pages.clear();
    last_page = ~0ul;
}

/* Zeroed by the system page by page, as they are touched. */
cell *checker::cells_of(u64 address)
{
    const u64 page = address / PAGE;
    if (page != last_page) {
        cell *&cells = pages[page];
        if (!cells)
            cells = (cell *)mmap(nullptr, PAGE / GRANULE * sizeof(cell), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        last_page = page, last_cells = cells;
    }
    return last_cells;
}

} // namespace softmetal
