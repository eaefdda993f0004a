/* F32, F16 and BF16 weights times float32 activations.
 *
 * Lane l of 16 sums the products k = l, l + 16, ... in order, and vf_sum adds the lanes: the same
 * order for one token or many, on every instruction set.
 */

typedef vf load_function(const void *p);
typedef float element_function(const void *p);

enum { FLOAT_ROWS = 4, FLOAT_TOKENS = 4 };

V_INLINE void float_tile(load_function load, element_function element, int bytes,
                         const char *const rows[FLOAT_ROWS], int n_rows, const float *x,
                         int n_tokens, int n_in, float *y)
{
    vf sum[FLOAT_ROWS][FLOAT_TOKENS];
    for (int r = 0; r < n_rows; r++)
        for (int t = 0; t < n_tokens; t++) sum[r][t] = vf_zero();
    int k = 0;
    for (; k + 16 <= n_in; k += 16) {
        vf w[FLOAT_ROWS];
        for (int r = 0; r < n_rows; r++) w[r] = load(rows[r] + k * bytes);
        for (int t = 0; t < n_tokens; t++) {
            vf v = vf_load(x + (size_t)t * (size_t)n_in + k);
            for (int r = 0; r < n_rows; r++) sum[r][t] = vf_fma(w[r], v, sum[r][t]);
        }
    }
    for (int r = 0; r < n_rows && k < n_in; r++) {
        float tail[16] = {0};
        for (int i = 0; i < n_in - k; i++) tail[i] = element(rows[r] + (k + i) * bytes);
        for (int t = 0; t < n_tokens; t++) {
            vf v = vf_load_part(x + (size_t)t * (size_t)n_in + k, n_in - k);
            sum[r][t] = vf_fma(vf_load(tail), v, sum[r][t]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int t = 0; t < n_tokens; t++) y[t * GROUP_ROWS + r] = vf_sum(sum[r][t]);
}

V_INLINE void float_unit(load_function load, element_function element, int bytes,
                         const weight_record *weight, const activations *a, int first_row,
                         int n_rows, float *y)
{
    int n_in = weight->n_in, n = a->n_tokens;
    for (int r = 0; r < n_rows; r += FLOAT_ROWS) {
        const char *rows[FLOAT_ROWS];
        for (int i = 0; i < FLOAT_ROWS; i++) {
            int row = r + i < n_rows ? r + i : n_rows - 1;
            rows[i] = (const char *)weight->data + (first_row + row) * weight->row_bytes;
        }
        float *to = y + (size_t)(r / GROUP_ROWS * n) * GROUP_ROWS + r % GROUP_ROWS;
        int t = 0;
        for (; t + FLOAT_TOKENS <= n; t += FLOAT_TOKENS)
            float_tile(load, element, bytes, rows, FLOAT_ROWS, a->f32 + (size_t)t * (size_t)n_in,
                       FLOAT_TOKENS, n_in, to + t * GROUP_ROWS);
        for (; t < n; t++)
            float_tile(load, element, bytes, rows, FLOAT_ROWS, a->f32 + (size_t)t * (size_t)n_in, 1,
                       n_in, to + t * GROUP_ROWS);
    }
}
