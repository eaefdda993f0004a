/* Loops that show what the machine can do at most: compiled like the kernels, which they bound.
 *
 * The sums have names of their own, V_SUMS at most: as an array compilers keep them in memory, and a
 * sum would then wait for its own store. A unit starts a multiply-add every cycle and ends it four
 * or five later, and there are two to four units, so that 12 registers or more have to be in flight.
 * What they begin with is loaded, so that no compiler finds two of them equal and computes one.
 */

#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define KEEP(k) \
    if (k < V_SUMS) kept[k % V_SUMS] = sum_##k;
static_assert(V_SUMS <= 12, "names of the sums");

/* What the kernels of quantised matrices do to a sum: see matmul_bytes.h for the first. */
#ifdef V_BYTE_TILES
enum { PRODUCTS = 64 };
V_INLINE vi limit_products(vi sum, vh x)
{
    return vi_dot_bytes(vi_dot_bytes(sum, vb_of(x), vb_of(x)), vb_of(x), vb_of(x));
}
#else
enum { PRODUCTS = 32 };
V_INLINE vi limit_products(vi sum, vh x) { return vi_dot(sum, x, x); }
#endif

enum {
    FMA_OPERATIONS = 2 * 16 * V_SUMS,
#ifdef V_AMX
    DOT_OPERATIONS = 2 * 2 * 16 * 16 * 64, /* at least three products of bytes for each: matmul_amx.h */
#else
    DOT_OPERATIONS = 2 * PRODUCTS * V_SUMS,
#endif
};

static void limit_fma(int64_t rounds)
{
    float begin[12][16] = {{0}};
    const vf half = vf_set(0.5f);
    vf kept[V_SUMS];
    V_OPAQUE(begin);
#define BEGIN(k) vf sum_##k = vf_load(begin[k]);
    EACH_SUM(BEGIN)
#undef BEGIN
    for (int64_t r = 0; r < rounds; r++) {
#define ADD(k) \
    if (k < V_SUMS) sum_##k = vf_fma(half, half, sum_##k);
        EACH_SUM(ADD)
#undef ADD
    }
    EACH_SUM(KEEP)
    V_OPAQUE(kept);
}

#ifndef V_AMX
static void limit_dot(int64_t rounds)
{
    int16_t begin[12][32] = {{0}};
    vh pair = vh_set(1);
    vi kept[V_SUMS];
    V_OPAQUE(begin);
#define BEGIN(k) vi sum_##k = vi_half(vh_load(begin[k]), 0);
    EACH_SUM(BEGIN)
#undef BEGIN
    for (int64_t r = 0; r < rounds; r++) {
        /* each product anew, where it is an instruction of its own */
#define ADD(k)                                                                                     \
    if (k < V_SUMS) {                                                                              \
        pair = vh_unknown(pair);                                                                   \
        sum_##k = limit_products(sum_##k, pair);                                                   \
    }
        EACH_SUM(ADD)
#undef ADD
    }
    EACH_SUM(KEEP)
    V_OPAQUE(kept);
}
#else
static void limit_dot(int64_t rounds)
{
    static const int8_t zeros[V_TILE_ROWS][64];
    const v_tile_shapes shapes = v_shapes(V_TILE_ROWS, 64);
    v_tiles_shape(&shapes);
    v_sums_zero();
    V_TILE_LOAD(6, zeros, 64);
    V_TILE_LOAD(7, zeros, 64);
    for (int64_t r = 0; r < rounds; r++) {
        V_TILE_DOT(0);
        V_TILE_DOT(1);
        V_TILE_DOT(2);
        V_TILE_DOT(3);
        V_TILE_DOT(4);
        V_TILE_DOT(5);
    }
    v_tiles_release();
}
#endif
#undef KEEP
#undef EACH_SUM

/* The whole units of 256 bytes. */
static void limit_read(const char *from, size_t bytes, size_t ahead)
{
    enum { UNIT = 256, LINE = 64 };
    vh sums[UNIT / LINE], seen[1];
    for (int i = 0; i < UNIT / LINE; i++) sums[i] = vh_set(0);
    for (size_t at = 0; at + UNIT <= bytes; at += UNIT)
        for (int i = 0; i < UNIT / LINE; i++) { /* not all asked for at once: see prefetch_ahead */
            const char *line = from + at + LINE * i;
            V_PREFETCH(line + ahead);
            sums[i] = vh_or(sums[i], vh_load((const int16_t *)line));
        }
    seen[0] = vh_or(vh_or(sums[0], sums[1]), vh_or(sums[2], sums[3]));
    V_OPAQUE(seen);
}
