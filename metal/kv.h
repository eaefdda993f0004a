/* The cached keys and values of one KV head in a page, and their reading and writing by pairs of
 * neighbouring dimensions.
 *
 *   keys    [head_dim / 2, PAGE_POSITIONS, 2]     values    [PAGE_POSITIONS, head_dim]
 *
 * Attention reads keys with a lane a position and values with a lane a dimension. In these orders the
 * lanes of a simdgroup read neighbouring pairs in both: 128 bytes of halves or 256 of floats at a
 * time, each byte once. (vLLM's cache splits keys likewise: Kwon et al. 2023, arXiv:2309.06180.) Any
 * even head_dim comes in pairs, and the dot product of a position stays in its lane, where rows of keys
 * would end in five shuffles a position and head.
 */
#ifndef SMELT_KV_H
#define SMELT_KV_H

#include "constants.h"

template <typename T>
struct kv_head {
    device metal::vec<T, 2> *keys;
    device metal::vec<T, 2> *values;

    device metal::vec<T, 2> &key(int position, int pair) const
    {
        return keys[pair * PAGE_POSITIONS + position];
    }
    device metal::vec<T, 2> &value(int position, int pair) const
    {
        return values[position * (HEAD_DIM / 2) + pair];
    }
};

/* One head of this layer in a page of the pool. A slab's bytes are counted in 32 bits. */
template <typename T>
static inline kv_head<T> kv_head_of(device const kv_slab *slabs, constant attention_args &args,
                                    int page, int head)
{
    const uint pairs = PAGE_POSITIONS * (uint)HEAD_DIM / 2; /* of keys, or values, a head */
    device uint8_t *layer =
        slabs[page / SLAB_PAGES].pages + ((uint)(page % SLAB_PAGES) * args.page_bytes + args.layer_bytes);
    device metal::vec<T, 2> *keys = (device metal::vec<T, 2> *)layer;
    return {keys + (uint)head * pairs, keys + (uint)(args.n_kv_heads + head) * pairs};
}

/* Writes pairs of one position; to half rounds to nearest, ties to even. */
static inline void write_key(device const kv_slab *slabs, constant attention_args &args, int page,
                             int head, int position, int pair, float2 x)
{
    if (KV_F16)
        kv_head_of<half>(slabs, args, page, head).key(position, pair) = half2(x);
    else
        kv_head_of<float>(slabs, args, page, head).key(position, pair) = x;
}

static inline void write_value(device const kv_slab *slabs, constant attention_args &args, int page,
                               int head, int position, int pair, float2 x)
{
    if (KV_F16)
        kv_head_of<half>(slabs, args, page, head).value(position, pair) = half2(x);
    else
        kv_head_of<float>(slabs, args, page, head).value(position, pair) = x;
}

#endif
