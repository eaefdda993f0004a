/* What a command buffer records: flat arrays that are used again by later command buffers, so that
 * encoding allocates nothing once they have grown. */
#ifndef SOFTMETAL_TAPE_H
#define SOFTMETAL_TAPE_H

#include <stddef.h>
#include <stdint.h>

typedef struct soft_memory soft_memory;
typedef struct soft_kernel soft_kernel;

/* Something bound: a buffer from an offset, or with no memory bytes of the tape. */
typedef struct {
    soft_memory *memory;
    size_t offset;
    size_t length;
} slot;

enum command_kind { COMMAND_DISPATCH, COMMAND_COPY, COMMAND_FILL, COMMAND_SAMPLE };

typedef struct {
    enum command_kind kind;
    uint32_t segment;
    uint64_t epoch; /* within the tape: what shares it has no barrier between */
    union {
        struct {
            soft_kernel *kernel;
            uint32_t grid[3], threads[3];
            uint32_t first_slot; /* as many as the kernel has arguments */
            uint32_t n_used;     /* of the tape's used[] from the segment's first */
        } dispatch;
        struct {
            soft_memory *from, *to; /* COMMAND_FILL: only `to`, and the value in from_offset */
            size_t from_offset, to_offset, size;
        } copy;
        struct {
            void *counters; /* SoftCounters, held by the tape */
            size_t index;
        } sample;
    };
} command;

/* One encoder. */
typedef struct {
    uint32_t first_command, n_commands; /* set when it ends */
    uint32_t first_used;
    char label[64];
    void *signposts; /* NSMutableArray or nil, held */
    void *counters[2]; /* SoftCounters at its start and end, or nil; held by the tape */
    size_t stamps[2];
} segment;

typedef struct {
    command *commands;
    slot *slots;
    char *bytes;     /* of setBytes */
    soft_memory **used;   /* by useResource, in order */
    soft_memory **memories; /* referred to, each at least once */
    soft_kernel **kernels;
    void **held;     /* objects to be released */
    segment *segments;
    uint32_t n_commands, n_slots, n_bytes, n_used, n_memories, n_kernels, n_held, n_segments;
    uint32_t room_commands, room_slots, room_bytes, room_used, room_memories, room_kernels, room_held,
        room_segments;
    uint64_t epoch;
    uint64_t serial; /* a new one at each use */
    char fault[512]; /* the first misuse while it was encoded, or empty */
} soft_tape;

void soft_grow(void **items, uint32_t wanted, uint32_t *room, size_t size);

/* Makes room for `by` more items of t->name and counts them: the index of the first. */
#define TAKE(t, name, by)                                                                          \
    ({                                                                                             \
        uint32_t at_ = (t)->n_##name;                                                              \
        if (at_ + (uint32_t)(by) > (t)->room_##name)                                               \
            soft_grow((void **)&(t)->name, at_ + (uint32_t)(by), &(t)->room_##name,                \
                      sizeof *(t)->name);                                                          \
        (t)->n_##name = at_ + (uint32_t)(by);                                                      \
        at_;                                                                                       \
    })
/* Adds one. */
#define PUSH(t, name, ...)                                                                         \
    do {                                                                                           \
        uint32_t new_ = TAKE(t, name, 1); /* may move the array */                                 \
        (t)->name[new_] = __VA_ARGS__;                                                             \
    } while (0)

#endif
