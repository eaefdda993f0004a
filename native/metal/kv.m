/* The page pool of the KV cache: slabs of pages that are added as sequences grow and never moved.
 * Kernels find them through a table of their addresses. */
#include "metal/internal.h"

enum { FIRST_SLABS = 64 };

metal_kv *metal_kv_create(metal_device *device, int n_layers, int n_kv_heads, int head_dim,
                          int kv_f16, metal_error *error)
{
    metal_kv *kv = calloc(1, sizeof *kv);
    if (!kv) {
        set_error(error, @"out of memory for the KV cache");
        return NULL;
    }
    kv->device = device;
    kv->number = ++device->pools;
    kv->n_layers = n_layers;
    kv->n_kv_heads = n_kv_heads;
    kv->head_dim = head_dim;
    kv->f16 = kv_f16;
    kv->layer_bytes = (int64_t)2 * n_kv_heads * PAGE_TOKENS * head_dim * (kv_f16 ? 2 : 4);
    kv->page_bytes = n_layers * kv->layer_bytes;
    if (kv->page_bytes * SLAB_PAGES <= UINT32_MAX) return kv; /* kernels count bytes in 32 bits */
    set_error(error, @"a page of the KV cache takes %lld bytes: use kv_type=\"f16\"",
              (long long)kv->page_bytes);
    free(kv);
    return NULL;
}

void metal_kv_destroy(metal_kv *kv)
{
    if (!kv || is_forked(NULL)) return;
    @autoreleasepool {
        for (int i = 0; i < kv->n_slabs; i++) drop_buffer(kv->device, &kv->slabs[i]);
        drop_buffer(kv->device, &kv->table);
    }
    free(kv->slabs);
    free(kv);
}

int64_t metal_kv_page_bytes(const metal_kv *kv) { return kv->page_bytes; }

/* Room for twice as many slabs in the table and in the list of buffers. */
static int grow_table(metal_kv *kv, metal_error *error)
{
    int room = kv->room_for_slabs ? 2 * kv->room_for_slabs : FIRST_SLABS;
    id<MTLBuffer> *slabs = realloc(kv->slabs, (size_t)room * sizeof *slabs);
    if (!slabs) {
        set_error(error, @"out of memory for the KV cache");
        return -1;
    }
    kv->slabs = slabs;
    id<MTLBuffer> table = new_buffer(kv->device, (size_t)room * sizeof(kv_slab),
                                     MTLResourceStorageModeShared, "the KV cache's table", error);
    if (!table) return -1;
    if (kv->table)
        memcpy([table contents], [kv->table contents], (size_t)kv->n_slabs * sizeof(kv_slab));
    drop_buffer(kv->device, &kv->table);
    kv->table = table;
    kv->room_for_slabs = room;
    kv->generation++;
    return 0;
}

int metal_kv_grow(metal_kv *kv, int n_pages, metal_error *error)
{
    if (is_forked(error)) return -1;
    @autoreleasepool {
        while (kv->n_pages < n_pages) {
            if (kv->n_slabs == kv->room_for_slabs && grow_table(kv, error)) return -1;
            id<MTLBuffer> slab = new_buffer(kv->device, (size_t)kv->page_bytes * SLAB_PAGES,
                                            MTLResourceStorageModePrivate, "the KV cache", error);
            if (!slab) return -1;
            if (@available(macOS 13.0, *)) /* as every device is asked for when it is opened */
                ((kv_slab *)[kv->table contents])[kv->n_slabs].pages = [slab gpuAddress];
            kv->slabs[kv->n_slabs++] = slab;
            kv->n_pages = kv->n_slabs * SLAB_PAGES;
            kv->generation++;
        }
        return 0;
    }
}
