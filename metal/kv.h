/* The cached keys and values of one KV head in a page, and their reading and writing by pairs of
 * neighbouring dimensions.
 *
 *   keys    [head_dim / 2, PAGE_POSITIONS, 2]     values    [PAGE_POSITIONS, head_dim]
 *
 * Attention reads keys with a lane a position and values with a lane a dimension. In these orders
 * the lanes of a simdgroup read neighbouring pairs in both: 128 bytes of halves or 256 of floats at
 * a time, each byte once. (vLLM's cache splits keys likewise: Kwon et al. 2023, arXiv:2309.06180.)
 * Any even head_dim comes in pairs, and the dot product of a position stays in its lane, where rows
 * of keys would end in five shuffles a position and head.
 */
#ifndef SMELT_KV_H
#define SMELT_KV_H

#include "constants.h"

/* One head's part of a page. */
struct kv_head {
    device uint8_t *keys;
    device uint8_t *values;

    static uint key_at(int position, int pair) { return (uint)(pair * PAGE_POSITIONS + position); }
    static uint value_at(int position, int pair)
    {
        return (uint)(position * (HEAD_DIM / 2) + pair);
    }

    static float2 read(device const uint8_t *pairs, uint i)
    {
        if (KV_F16) return float2(((device const half2 *)pairs)[i]);
        return ((device const float2 *)pairs)[i];
    }
    static void write(device uint8_t *pairs, uint i, float2 x)
    {
        if (KV_F16)
            ((device half2 *)pairs)[i] = half2(x); /* to nearest, ties to even */
        else
            ((device float2 *)pairs)[i] = x;
    }

    float2 key(int position, int pair) const { return read(keys, key_at(position, pair)); }
    float2 value(int position, int pair) const { return read(values, value_at(position, pair)); }
    void write_key(int position, int pair, float2 x) const
    {
        write(keys, key_at(position, pair), x);
    }
    void write_value(int position, int pair, float2 x) const
    {
        write(values, value_at(position, pair), x);
    }
};

/* A head of this op's layer in a page of the pool. The bytes of a slab are counted in 32 bits. */
static inline kv_head kv_head_of(device const kv_slab *slabs, constant attention_args &args,
                                 int page, int head)
{
    const uint head_bytes = PAGE_POSITIONS * (uint)HEAD_DIM * (KV_F16 ? 2 : 4);
    device uint8_t *keys = slabs[page / SLAB_PAGES].pages
                           + ((uint)(page % SLAB_PAGES) * args.page_bytes + args.layer_bytes
                              + (uint)head * head_bytes);
    const kv_head found = {keys, keys + (uint)args.n_kv_heads * head_bytes};
    return found;
}

#endif
