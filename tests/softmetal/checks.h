/* The checks of every load and store (MSL_CHECKED). One threadgroup runs at a time in this mode. */
#ifndef SOFTMETAL_CHECKS_H
#define SOFTMETAL_CHECKS_H

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "executor.h"
#include "incident.h"

namespace softmetal {

/* Memory that a kernel may touch, and its name in reports. */
struct memory_range {
    u64 start, end;
    std::string name;
};

/* Accesses to a granule of memory that matter still: the last write, and reads since. */
struct cell {
    stamp write, read;
    stamp other_read; /* of another SIMD group, threadgroup or dispatch than `read` */
};

class checker {
  public:
    checker() = default;
    checker(const checker &) = delete;
    ~checker() { forget(); }

    void begin_dispatch(const msl_dispatch &d, u64 code_start, u64 code_end);
    void begin_threadgroup(const machine *m, u32 index);
    /* A piece of threadgroup memory, an argument or a variable. */
    void add_threadgroup_memory(u64 start, u64 bytes, const std::string &name);
    void pass_barrier(u32 thread, u32 flags, bool all);

    /* False: found.kind and what belongs to it say what is wrong with the access. */
    bool access(incident &found);

    /* "buffer(3) 'x' (256 bytes)", for the range that an address is in or nearest to; and how far
     * from its start. */
    std::string name_of(u64 address, long &offset) const;
    const std::string &kernel_of(u32 dispatch) const { return names.at(dispatch); }
    bool is_threadgroup_memory(u64 address) const;
    /* Whether an access belongs to the dispatch that runs. */
    bool is_current(const stamp &s) const { return s.dispatch == dispatch; }

  private:
    enum { GRANULE = 2, PAGE = 4096, MANY_PAGES = 1024 }; /* cells of a page take 96 KiB */
    std::vector<memory_range> ranges, pieces;
    u64 code_start = 0, code_end = 0;
    u64 memory_start = 0, memory_end = 0; /* of threadgroup memory */
    u32 dispatch = 0, first_of_epoch = 1, threadgroup = 0;
    u64 epoch = ~0ul;
    u16 device_interval = 0, threadgroup_interval = 0;
    u16 device_turn[MAX_THREADS / LANES] = {}, threadgroup_turn[MAX_THREADS / LANES] = {};
    std::vector<u8> written;                /* bytes of threadgroup memory that somebody wrote */
    std::unordered_map<u64, cell *> pages;  /* cells of PAGE bytes */
    u64 last_page = ~0ul;
    cell *last_cells = nullptr;
    std::map<u32, std::string> names;       /* kernels of this epoch's dispatches */

    cell *cells_of(u64 address);
    void forget();
    bool check_bounds(incident &found) const;
    bool check_written(incident &found);
    bool check_races(incident &found);
    bool conflicts(const stamp &earlier, const stamp &now, bool in_threadgroup) const;
    void note_read(cell &c, const stamp &now);
};

} // namespace softmetal
#endif
