/* The page pool of the KV cache: slabs of pages, added as sequences grow and never moved. */
#define _DEFAULT_SOURCE /* madvise */
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/internal.h"
#include "half.h"

enum { LINE_BYTES = 64 };

cpu_kv *cpu_kv_create(int n_layers, int n_kv_heads, int head_dim, int type)
{
    if (n_layers < 1 || n_kv_heads < 1 || head_dim < 1) return NULL;
    /* Kernels count the elements of one layer in a page in an int. */
    if ((head_dim + (int64_t)15) * n_kv_heads > INT_MAX / PAGE_TOKENS) return NULL;
    /* In double, which does not overflow: below, a slab's bytes and its alignment must not, either. */
    const double heads = (double)n_layers * n_kv_heads * SLAB_PAGES * PAGE_TOKENS;
    if (heads * sizeof(float) * (2.0 * head_dim + 15) > (double)(PTRDIFF_MAX / 2)) return NULL;
    cpu_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return NULL;
    kv->n_layers = n_layers;
    kv->n_kv_heads = n_kv_heads;
    kv->head_dim = head_dim;
    kv->type = type;
    kv->head_stride = (head_dim + 15) / 16 * 16;
    kv->element_bytes = type == KV_F16 ? 2 : 4;
    int64_t tokens = (int64_t)n_kv_heads * PAGE_TOKENS * kv->element_bytes;
    kv->k_bytes = tokens * head_dim;
    kv->v_bytes = tokens * kv->head_stride;
    kv->page_bytes = n_layers * (kv->k_bytes + kv->v_bytes);
    return kv;
}

void cpu_kv_destroy(cpu_kv *kv)
{
    if (!kv) return;
    for (int i = 0; i < kv->n_slabs; i++) free(kv->slabs[i].allocated);
    free(kv->slabs);
    free(kv);
}

int64_t cpu_kv_page_bytes(const cpu_kv *kv) { return kv->page_bytes; }

static float element(const void *from, int64_t i, int type)
{
    return type == KV_F16 ? f16_to_f32(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}

int cpu_kv_read(const cpu_kv *kv, int page, int layer, int first, int end, float *keys,
                float *values)
{
    if (page < 0 || page >= kv->n_pages || layer < 0 || layer >= kv->n_layers) return -1;
    if (first < 0 || first > end || end > PAGE_TOKENS) return -1;
    const void *k = kv_k(kv, page, layer), *v = kv_v(kv, page, layer);
    const int64_t row = (int64_t)kv->n_kv_heads * kv->head_dim;
    for (int64_t head = 0; head < kv->n_kv_heads; head++)
        for (int64_t token = first; token < end; token++)
            for (int64_t d = 0; d < kv->head_dim; d++) {
                const int64_t to = (token - first) * row + head * kv->head_dim + d;
                keys[to] = element(k, (head * kv->head_dim + d) * PAGE_TOKENS + token, kv->type);
                values[to] = element(v, (head * PAGE_TOKENS + token) * kv->head_stride + d, kv->type);
            }
    return 0;
}

/* Zeroed, as the tail of a head is read; a large one costs no memory until it is written. A large one
 * asks for huge pages, with which attention over thousands of positions takes two thirds of its time:
 * it goes from one of the system's small pages to the next, and by then, so we explain it, the weights
 * have taken the place of what the processor knew of their addresses. Linux gives huge pages to whole
 * ones alone. */
static kv_slab allocate_slab(size_t bytes)
{
    const size_t alignment = bytes < HUGE_PAGE_BYTES ? LINE_BYTES : HUGE_PAGE_BYTES;
    kv_slab slab = {.allocated = calloc(1, bytes + alignment)};
    if (!slab.allocated) return slab;
    slab.pages = (char *)(((uintptr_t)slab.allocated + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE_BYTES) madvise(slab.pages, bytes, MADV_HUGEPAGE); /* or goes without */
#endif
    return slab;
}

int cpu_kv_grow(cpu_kv *kv, int n_pages)
{
    if (n_pages > INT_MAX - SLAB_PAGES) return -1; /* the pages of whole slabs are counted, too */
    int wanted = (n_pages + SLAB_PAGES - 1) / SLAB_PAGES;
    if (wanted > kv->n_slabs) {
        kv_slab *slabs = realloc(kv->slabs, (size_t)wanted * sizeof *slabs);
        if (!slabs) return -1;
        kv->slabs = slabs;
    }
    while (kv->n_slabs < wanted) {
        kv_slab slab = allocate_slab(SLAB_PAGES * (size_t)kv->page_bytes);
        if (!slab.pages) return -1;
        kv->slabs[kv->n_slabs++] = slab;
        kv->n_pages = kv->n_slabs * SLAB_PAGES;
    }
    return 0;
}
