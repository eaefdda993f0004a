/* Causal attention of grouped queries over the paged KV cache.
 *
 * attention keeps a running maximum, sum and output for every (token, head) and walks the pages
 * once (the online softmax of Milakov and Gimelshein 2018, arXiv:1805.02867, as in Dao et al. 2022,
 * arXiv:2205.14135), so there is no [n, n] score matrix. A score is a sequential sum over head_dim
 * and the pages come in order: what a token gets does not depend on the tokens beside it.
 */

/* A page's keys and values of one head: of the page itself, or its halves widened to float32, which is
 * worth its while if they are read more than once. And the same of the page that comes next, to be asked
 * for on the way: it lies elsewhere in memory, so that no processor guesses it. */
typedef struct {
    const void *k; /* [head_dim, PAGE_TOKENS] */
    const void *v; /* [PAGE_TOKENS, head_stride] */
    const char *next_k, *next_v;
    enum page_kind { PAGE_HALVES, PAGE_FLOATS, PAGE_NEAR } kind; /* near: floats that were read before */
} page_view;

/* Sixteen elements from `index` on. */
V_INLINE vf page_load(const void *elements, int index, enum page_kind kind)
{
    return kind == PAGE_HALVES ? vf_load_f16((const uint16_t *)elements + index)
                               : vf_load((const float *)elements + index);
}

/* Asks for the line that begins where 16 elements are loaded from, if one does. */
V_INLINE void prefetch_elements(const char *elements, int index, enum page_kind kind)
{
    if (kind == PAGE_HALVES && index % 32 == 0) V_PREFETCH(elements + (size_t)index * 2);
    if (kind == PAGE_FLOATS) V_PREFETCH(elements + (size_t)index * 4);
}

V_INLINE const void *widen(const void *halves, const char *next, int n, float *to)
{
    for (int i = 0; i < n; i += 16) {
        prefetch_elements(next, i, PAGE_HALVES);
        vf_store(to + i, page_load(halves, i, PAGE_HALVES));
    }
    return to;
}

/* One head of page page_index of n_pages of a token's sequence. */
V_INLINE page_view view_page(const work *w, int layer, int token, int page_index, int n_pages, int head,
                             int is_read_once, float *scratch)
{
    const cpu_kv *kv = w->kv;
    const int32_t *pages = w->step->page_table + w->step->sequences[token] * w->step->max_pages;
    const int page = pages[page_index], next = pages[page_index + (page_index + 1 < n_pages)];
    const int k_size = kv->head_dim * PAGE_TOKENS, v_size = kv->head_stride * PAGE_TOKENS;
    const size_t before = (size_t)head * (size_t)kv->element_bytes;
    const size_t k_at = before * (size_t)k_size, v_at = before * (size_t)v_size;
    page_view view = {kv_k(kv, page, layer) + k_at, kv_v(kv, page, layer) + v_at,
                      kv_k(kv, next, layer) + k_at, kv_v(kv, next, layer) + v_at,
                      kv->type == KV_F32 ? PAGE_FLOATS : PAGE_HALVES};
    if (is_read_once) return view;
    if (view.kind == PAGE_HALVES) {
        view.k = widen(view.k, view.next_k, k_size, scratch);
        view.v = widen(view.v, view.next_v, v_size, scratch + k_size);
    }
    view.kind = PAGE_NEAR;
    return view;
}

V_INLINE float *after_view(const work *w, float *scratch)
{
    return scratch + (w->kv->head_dim + w->kv->head_stride) * PAGE_TOKENS;
}

/* Adds a and b times *x to two sums, with *x in a register, or taken from memory by the products
 * themselves where the set can: every second head is, for the reason that avx512.h gives. */
V_INLINE void v_fma_two(vf *low, vf *high, vf a, vf b, const float *x, int from_memory)
{
    if (from_memory) {
        *low = vf_fma_at(*low, a, x);
        *high = vf_fma_at(*high, b, x);
    } else {
        const vf in_register = vf_set(*x);
        *low = vf_fma(in_register, a, *low);
        *high = vf_fma(in_register, b, *high);
    }
}

/* q . k of some queries [heads, head_dim] and all positions of a page: [heads, PAGE_TOKENS]. Heads that
 * share a page share its loads, and their sums run side by side; no sum depends on another. */
V_INLINE void page_scores(const float *q, page_view page, enum page_kind kind, int heads, int head_dim,
                          float *scores)
{
    vf low[V_HEADS], high[V_HEADS];
    V_UNROLL for (int h = 0; h < heads; h++) low[h] = high[h] = vf_zero();
    for (int i = 0; i < head_dim; i++) {
        const int low_at = i * PAGE_TOKENS, high_at = low_at + 16;
        vf k_low = page_load(page.k, low_at, kind), k_high = page_load(page.k, high_at, kind);
        prefetch_elements(page.next_k, low_at, kind);
        prefetch_elements(page.next_k, high_at, kind);
        V_UNROLL for (int h = 0; h < heads; h++) {
            v_fma_two(&low[h], &high[h], k_low, k_high, q + h * head_dim + i, h % 2);
        }
    }
    V_UNROLL for (int h = 0; h < heads; h++) {
        vf_store(scores + h * PAGE_TOKENS, low[h]);
        vf_store(scores + h * PAGE_TOKENS + 16, high[h]);
    }
}

typedef struct {
    float maximum, sum;
} softmax_state;

/* Turns the first n scores of every head's in a page [heads, PAGE_TOKENS] into weights, and gives what
 * earlier sums shrink by. Heads go side by side, step by step: one alone would wait for its own results
 * most of the time. */
V_INLINE void page_weights(float *scores, int heads, int n, float scale, softmax_state *states,
                           float shrink[16])
{
    static_assert(V_HEADS <= 16, "what they shrink by is one vector");
    float before[16] = {0}, after[16] = {0};
    vf low[V_HEADS], high[V_HEADS];
    V_UNROLL for (int h = 0; h < heads; h++) {
        float *s = scores + h * PAGE_TOKENS;
        for (int i = n; i < PAGE_TOKENS; i++) s[i] = -INFINITY;
        low[h] = vf_mul(vf_load(s), vf_set(scale)), high[h] = vf_mul(vf_load(s + 16), vf_set(scale));
        const float maximum = vf_maximum(vf_max(low[h], high[h]));
        before[h] = states[h].maximum;
        after[h] = maximum > before[h] ? maximum : before[h];
    }
    V_UNROLL for (int h = 0; h < heads; h++) {
        float *s = scores + h * PAGE_TOKENS;
        vf_store(s, vf_exp(vf_sub(low[h], vf_set(after[h]))));
        vf_store(s + 16, vf_exp(vf_sub(high[h], vf_set(after[h]))));
        for (int i = n; i < PAGE_TOKENS; i++) s[i] = 0.0f;
    }
    vf_store(shrink, vf_exp(vf_sub(vf_load(before), vf_load(after))));
    V_UNROLL for (int h = 0; h < heads; h++) {
        const float *s = scores + h * PAGE_TOKENS;
        const float sum = vf_sum(vf_add(vf_load(s), vf_load(s + 16)));
        states[h] = (softmax_state){after[h], fmaf(states[h].sum, shrink[h], sum)};
    }
}

/* Shrinks 16 elements of the outputs [heads, head_stride], or twice so many, from element i on, and adds
 * the first n positions' values times the heads' weights. */
V_INLINE void page_mix(const float *weights, const float shrink[16], page_view page,
                       enum page_kind kind, int heads, int n, int head_stride, int i, int is_twice,
                       float *out)
{
    vf low[V_HEADS], high[V_HEADS];
    V_UNROLL for (int h = 0; h < heads; h++) {
        float *o = out + h * head_stride + i;
        low[h] = vf_mul(vf_load(o), vf_set(shrink[h]));
        if (is_twice) high[h] = vf_mul(vf_load(o + 16), vf_set(shrink[h]));
    }
    for (int j = 0; j < n; j++) {
        const int at = j * head_stride + i;
        vf v_low = page_load(page.v, at, kind), v_high = v_low;
        prefetch_elements(page.next_v, at, kind);
        if (is_twice) {
            v_high = page_load(page.v, at + 16, kind);
            prefetch_elements(page.next_v, at + 16, kind);
        }
        V_UNROLL for (int h = 0; h < heads; h++) {
            const float *x = weights + h * PAGE_TOKENS + j;
            if (is_twice) v_fma_two(&low[h], &high[h], v_low, v_high, x, h % 2);
            else low[h] = vf_fma(vf_set(*x), v_low, low[h]);
        }
    }
    V_UNROLL for (int h = 0; h < heads; h++) {
        float *o = out + h * head_stride + i;
        vf_store(o, low[h]);
        if (is_twice) vf_store(o + 16, high[h]);
    }
}

/* Takes the first n positions of a page into the outputs [heads, head_stride] of one token's heads. */
V_INLINE void attend_page(const float *q, page_view page, enum page_kind kind, int heads, int n,
                          float scale, int head_dim, int head_stride, softmax_state *states, float *out)
{
    float s[V_HEADS * PAGE_TOKENS], shrink[16];
    page_scores(q, page, kind, heads, head_dim, s);
    page_weights(s, heads, n, scale, states, shrink);
    int i = 0;
    for (; i + 32 <= head_stride; i += 32)
        page_mix(s, shrink, page, kind, heads, n, head_stride, i, 1, out);
    if (i < head_stride) page_mix(s, shrink, page, kind, heads, n, head_stride, i, 0, out);
}

/* The tokens of one run and the query heads that share one key and value head. */
V_INLINE void attend_run(work *w, const op_record *op, token_run run, int kv_head)
{
    const int head_dim = op->head_dim, stride = w->kv->head_stride;
    const int group = op->n_heads / op->n_kv_heads, n = run.count * group;
    const size_t width = (size_t)(op->n_heads * head_dim);
    const size_t first_head = (size_t)(kv_head * group * head_dim);
    const float *q = value_data(w, op->inputs[0]) + first_head;
    float *y = value_data(w, op->outputs[0]) + first_head;
    float *page_scratch = (float *)w->scratch, *out = after_view(w, page_scratch);
    softmax_state *states = (softmax_state *)(out + n * stride);
    memset(out, 0, (size_t)(n * stride) * sizeof *out);
    for (int i = 0; i < n; i++) states[i] = (softmax_state){-INFINITY, 0.0f};
    const int first_position = w->step->positions[run.first];
    const int n_pages = (first_position + run.count - 1) / PAGE_TOKENS + 1;
    for (int p = 0; p < n_pages; p++) {
        page_view page = view_page(w, op->layer, run.first, p, n_pages, kv_head,
                                   run.count == 1 && group <= V_HEADS, page_scratch);
        for (int t = 0; t < run.count; t++) {
            int seen = first_position + t + 1 - p * PAGE_TOKENS;
            if (seen <= 0) continue;
            if (seen > PAGE_TOKENS) seen = PAGE_TOKENS;
            const float *row = q + (size_t)(run.first + t) * width;
            softmax_state *state = states + t * group;
            float *sums = out + t * group * stride;
            int g = 0;
#define ATTEND(heads, kind)                                                                        \
    attend_page(row + g * head_dim, page, kind, heads, seen, op->scale, head_dim, stride,          \
                state + g, sums + g * stride)
#define HEADS(heads)                                                                               \
    for (; g + (heads) <= group; g += (heads)) {                                                   \
        if (page.kind == PAGE_HALVES) ATTEND(heads, PAGE_HALVES);                                  \
        else if (page.kind == PAGE_FLOATS) ATTEND(heads, PAGE_FLOATS);                             \
        else ATTEND(heads, PAGE_NEAR);                                                             \
    }
            if (V_HEADS >= 8) HEADS(8)
            if (V_HEADS >= 4) HEADS(4)
            if (V_HEADS >= 2) HEADS(2)
            HEADS(1)
#undef HEADS
#undef ATTEND
        }
    }
    for (int i = 0; i < n; i++) {
        float *row = y + (size_t)(run.first + i / group) * width + i % group * head_dim;
        const vf sum = vf_set(states[i].sum);
        int j = 0;
        for (; j + 16 <= head_dim; j += 16) vf_store(row + j, vf_div(vf_load(out + i * stride + j), sum));
        if (j < head_dim) vf_store_part(row + j, vf_div(vf_load(out + i * stride + j), sum), head_dim - j);
    }
}

static void op_attention(work *w, const op_record *op)
{
    int total = w->n_runs * op->n_kv_heads, unit, end;
    while (next_units(w, total, &unit, &end))
        for (; unit < end; unit++)
            attend_run(w, op, w->runs[unit / op->n_kv_heads], unit % op->n_kv_heads);
}

/* The same in three ops whose results can be looked at: scores and weights are
 * [n_tokens, n_heads, capacity], zero past the token's own position. */
static void op_attention_scores(work *w, const op_record *op)
{
    int first, end, group = op->n_heads / op->n_kv_heads;
    int capacity = value_width(w, op->outputs[0]) / op->n_heads;
    float *page_scratch = (float *)w->scratch;
    while (next_units(w, w->step->n_tokens * op->n_heads, &first, &end))
        for (int i = first; i < end; i++) {
            int t = i / op->n_heads, head = i % op->n_heads, n = w->step->positions[t] + 1;
            const float *q = value_data(w, op->inputs[0]) + (size_t)i * (size_t)op->head_dim;
            float *row = value_data(w, op->outputs[0]) + (size_t)i * (size_t)capacity;
            memset(row, 0, (size_t)capacity * sizeof *row);
            for (int p = 0; p * PAGE_TOKENS < n; p++) {
                page_view page = view_page(w, op->layer, t, p, (n - 1) / PAGE_TOKENS + 1, head / group,
                                           0, page_scratch);
                float s[PAGE_TOKENS];
                page_scores(q, page, PAGE_NEAR, 1, op->head_dim, s);
                for (int j = 0; j < PAGE_TOKENS && p * PAGE_TOKENS + j < n; j++)
                    row[p * PAGE_TOKENS + j] = s[j];
            }
        }
}

static void op_softmax(work *w, const op_record *op)
{
    int first, end, capacity = value_width(w, op->outputs[0]) / op->n_heads;
    while (next_units(w, w->step->n_tokens * op->n_heads, &first, &end))
        for (int i = first; i < end; i++) {
            int n = w->step->positions[i / op->n_heads] + 1;
            const float *s = value_data(w, op->inputs[0]) + (size_t)i * (size_t)capacity;
            float *p = value_data(w, op->outputs[0]) + (size_t)i * (size_t)capacity;
            float maximum = -INFINITY, sum = 0.0f, lanes[16];
            for (int j = 0; j < n; j++) maximum = s[j] > maximum ? s[j] : maximum;
            memset(p, 0, (size_t)capacity * sizeof *p);
            for (int j = 0; j < n; j++) {
                vf_store(lanes, vf_exp(vf_set((s[j] - maximum) * op->scale)));
                p[j] = lanes[0];
                sum += p[j];
            }
            for (int j = 0; j < n; j++) p[j] /= sum;
        }
}

static void op_attention_mix(work *w, const op_record *op)
{
    int first, end, group = op->n_heads / op->n_kv_heads, stride = w->kv->head_stride;
    int capacity = value_width(w, op->inputs[0]) / op->n_heads;
    float *page_scratch = (float *)w->scratch, *out = after_view(w, page_scratch);
    while (next_units(w, w->step->n_tokens * op->n_heads, &first, &end))
        for (int i = first; i < end; i++) {
            int t = i / op->n_heads, head = i % op->n_heads, n = w->step->positions[t] + 1;
            const float *weights = value_data(w, op->inputs[0]) + (size_t)i * (size_t)capacity;
            float *y = value_data(w, op->outputs[0]) + (size_t)i * (size_t)op->head_dim;
            memset(out, 0, (size_t)stride * sizeof *out);
            for (int p = 0; p * PAGE_TOKENS < n; p++) {
                page_view page = view_page(w, op->layer, t, p, (n - 1) / PAGE_TOKENS + 1, head / group,
                                           0, page_scratch);
                for (int j = 0; j < PAGE_TOKENS && p * PAGE_TOKENS + j < n; j++) {
                    vf x = vf_set(weights[p * PAGE_TOKENS + j]);
                    const float *v = (const float *)page.v + j * stride;
                    for (int k = 0; k < stride; k += 16)
                        vf_store(out + k, vf_fma(x, vf_load(v + k), vf_load(out + k)));
                }
            }
            memcpy(y, out, (size_t)op->head_dim * sizeof *y);
        }
}
