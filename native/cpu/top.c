/* The largest logits of a row, in place of all of them: what greedy and top-k sampling look at, right
 * after the step that left them in the caches. */
#include <math.h>
#include <string.h>

#include "cpu/internal.h"

/* A logit and its id as one number: larger logits have larger ones, and of equal ones (-0 and 0 are)
 * the lower id. NaN and +inf are above everything else and equal to each other. */
static inline uint64_t order_of(float logit, int id)
{
    const uint32_t sign = 0x80000000, infinity = 0x7f800000;
    uint32_t bits;
    memcpy(&bits, &logit, sizeof bits);
    if (bits == sign) bits = 0;
    uint32_t rank = bits & sign ? ~bits : bits | sign;
    if ((bits & ~sign) >= infinity && bits != (sign | infinity)) rank = UINT32_MAX;
    return (uint64_t)rank << 32 | (UINT32_MAX - (uint32_t)id);
}

static inline int id_of(uint64_t order) { return (int)(UINT32_MAX - (uint32_t)order); }

/* Puts `order` in the place of the root of a heap of n, the smallest of them all at the root. */
static void replace_root(uint64_t *heap, int n, uint64_t order)
{
    int at = 0;
    for (int child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= order) break;
        heap[at] = heap[child];
    }
    heap[at] = order;
}

enum { LOOKED_AT = 64 }; /* logits at a time */

/* Whether one of them is larger than `least` or a NaN. By integers, in which compilers see vectors. */
static inline int any_above(const float *x, float least)
{
    uint32_t found = 0;
    for (int i = 0; i < LOOKED_AT; i++) found |= (uint32_t)!(x[i] <= least);
    return found != 0;
}

void cpu_top(const float *logits, int n, int k, cpu_top_entry *top)
{
    uint64_t heap[CPU_MOST_TOP];
    float least = -INFINITY;
    int kept = 0;
    memset(heap, 0, (size_t)k * sizeof *heap); /* as small as no logit is */
    for (int first = 0; first < n; first += LOOKED_AT) {
        const int end = n - first < LOOKED_AT ? n : first + LOOKED_AT;
        if (kept >= k && end - first == LOOKED_AT && !any_above(logits + first, least)) continue;
        for (int i = first; i < end; i++) {
            const uint64_t order = order_of(logits[i], i);
            if (order <= heap[0]) continue;
            replace_root(heap, k, order);
            if (++kept >= k) least = logits[id_of(heap[0])];
        }
    }
    for (int left = k; left > 0; left--) {
        const int id = id_of(heap[0]);
        top[left - 1] = (cpu_top_entry){id, logits[id]};
        replace_root(heap, left - 1, heap[left - 1]);
    }
}
