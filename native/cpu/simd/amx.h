/* AMX-INT8: eight tiles of up to 16 rows of 64 bytes (Intel SDM volume 1, chapter 18), after avx512.h.
 *
 *     tiles 0 to 5   sums, int32 [tokens][16 rows of weights]
 *     tile 6         activations, int8 [tokens][64 weights, or 32]
 *     tile 7         weights, int8 [weights / 4][16 rows][4]
 *
 * With V_EMULATE_AMX the same in C, for tests on machines without it.
 */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} v_tile_shapes;

enum { V_TILE_ACTIVATIONS = 6, V_TILE_WEIGHTS = 7, V_TILE_ROWS = 16 };

V_INLINE v_tile_shapes v_shapes(int n_tokens, int n_weights)
{
    v_tile_shapes s = {.palette = 1};
    for (int i = 0; i <= V_TILE_WEIGHTS; i++) {
        s.rows[i] = (uint8_t)(i == V_TILE_WEIGHTS ? n_weights / 4 : n_tokens);
        s.row_bytes[i] = (uint16_t)(i == V_TILE_ACTIVATIONS ? n_weights : 64);
    }
    return s;
}

#ifdef V_EMULATE_AMX
static _Thread_local struct {
    v_tile_shapes shapes;
    int8_t bytes[8][16][64];
} v_tiles;

V_INLINE void v_tiles_shape(const v_tile_shapes *shapes) { v_tiles.shapes = *shapes; }
V_INLINE void v_tiles_release(void) { v_tiles.shapes.palette = 0; }
static void v_tile_move(int tile, char *memory, size_t stride, int store)
{
    assert(v_tiles.shapes.palette == 1);
    for (int r = 0; r < v_tiles.shapes.rows[tile]; r++) {
        void *row = memory + (size_t)r * stride, *own = v_tiles.bytes[tile][r];
        memcpy(store ? row : own, store ? own : row, v_tiles.shapes.row_bytes[tile]);
    }
}
static void v_tile_products(int sums)
{
    for (int m = 0; m < v_tiles.shapes.rows[V_TILE_ACTIVATIONS]; m++)
        for (int n = 0; n < 16; n++) {
            int32_t sum;
            memcpy(&sum, v_tiles.bytes[sums][m] + 4 * n, sizeof sum);
            for (int k = 0; k < v_tiles.shapes.row_bytes[V_TILE_ACTIVATIONS]; k++)
                sum += v_tiles.bytes[V_TILE_ACTIVATIONS][m][k]
                       * v_tiles.bytes[V_TILE_WEIGHTS][k / 4][4 * n + k % 4];
            memcpy(v_tiles.bytes[sums][m] + 4 * n, &sum, sizeof sum);
        }
}
#define V_TILE_ZERO(tile) memset(v_tiles.bytes[tile], 0, sizeof v_tiles.bytes[tile])
#define V_TILE_LOAD(tile, p, stride) v_tile_move(tile, (char *)(p), stride, 0)
#define V_TILE_STORE(tile, p, stride) v_tile_move(tile, (char *)(p), stride, 1)
#define V_TILE_DOT(sums) v_tile_products(sums)
#else
V_INLINE void v_tiles_shape(const v_tile_shapes *shapes) { _tile_loadconfig(shapes); }
V_INLINE void v_tiles_release(void) { _tile_release(); }
/* The number of a tile is part of the instruction. */
#define V_TILE_ZERO(tile) _tile_zero(tile)
#define V_TILE_LOAD(tile, p, stride) _tile_loadd(tile, p, stride)
#define V_TILE_STORE(tile, p, stride) _tile_stored(tile, p, stride)
#define V_TILE_DOT(sums) _tile_dpbssd(sums, 6, 7) /* V_TILE_ACTIVATIONS, V_TILE_WEIGHTS */
#endif

V_INLINE void v_sums_zero(void)
{
    V_TILE_ZERO(0);
    V_TILE_ZERO(1);
    V_TILE_ZERO(2);
    V_TILE_ZERO(3);
    V_TILE_ZERO(4);
    V_TILE_ZERO(5);
}

V_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
V_INLINE vb vb_set(int8_t x) { return _mm512_set1_epi8(x); }
V_INLINE vb vb_sub(vb a, vb b) { return _mm512_sub_epi8(a, b); }
V_INLINE vh vh_select(vh mask, vh a, vh b) /* mask ? a : b, bit by bit */
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}
