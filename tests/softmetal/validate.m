/* Whether a dispatch could run: what is bound, and its grid. */
#include "objects.h"

/* One argument of the kernel, into *to; 0 and a fault where what is bound does not do. */
static int take_argument(SoftEncoder *e, const kernel_argument *a, slot *to, size_t *shared)
{
    const char *name = e->kernel->function->function->name;
    if (a->kind == MSL_THREADGROUP) {
        *to = (slot){NULL, 0, e->threadgroup[a->index]};
        *shared += to->length;
        if (to->length >= a->least) return 1;
        soft_spoil(e->tape, @"dispatch of %s: threadgroup memory %d, %s, has %zu bytes and needs %zu",
                   name, a->index, a->name, to->length, a->least);
        return 0;
    }
    if (!(e->bound >> a->index & 1)) {
        *to = (slot){NULL, 0, 0};
        if (a->may_be_absent) return 1;
        soft_spoil(e->tape, @"dispatch of %s: nothing is bound at buffer %d, %s", name, a->index,
                   a->name);
        return 0;
    }
    *to = e->slots[a->index];
    if (to->length < a->least) {
        soft_spoil(e->tape, @"dispatch of %s: buffer %d, %s, has %zu bytes from its offset and needs %zu",
                   name, a->index, a->name, to->length, a->least);
        return 0;
    }
    if (!to->memory && a->is_writable) {
        soft_spoil(e->tape, @"dispatch of %s: setBytes at buffer %d, %s, which the kernel may write",
                   name, a->index, a->name);
        return 0;
    }
    if (to->memory && to->offset % a->alignment) {
        soft_spoil(e->tape, @"dispatch of %s: the offset %zu of buffer %d, %s, is no multiple of %d",
                   name, to->offset, a->index, a->name, a->alignment);
        return 0;
    }
    return 1;
}

int soft_is_grid(SoftEncoder *e, MTLSize grid, MTLSize threads)
{
    const char *name = e->kernel->function->function->name;
    if (!grid.width || !grid.height || !grid.depth || !threads.width || !threads.height ||
        !threads.depth || grid.width > UINT32_MAX || grid.height > UINT32_MAX ||
        grid.depth > UINT32_MAX) {
        soft_spoil(e->tape, @"dispatch of %s: a grid of (%zu, %zu, %zu) threadgroups of (%zu, %zu, %zu)",
                   name, (size_t)grid.width, (size_t)grid.height, (size_t)grid.depth,
                   (size_t)threads.width, (size_t)threads.height, (size_t)threads.depth);
        return 0;
    }
    const uint64_t most = e->kernel->max_threads;
    const uint64_t all = threads.width * threads.height * threads.depth;
    if (threads.width <= most && threads.height <= most && threads.depth <= most && all <= most) {
        if (!(all % e->kernel->multiple)) return 1;
        soft_spoil(e->tape, @"dispatch of %s: %d threads a threadgroup; its pipeline was promised a "
                            @"multiple of %d", name, (int)all, SIMD_THREADS);
        return 0;
    }
    soft_spoil(e->tape, @"dispatch of %s: (%zu, %zu, %zu) threads a threadgroup; its pipeline takes %d",
               name, (size_t)threads.width, (size_t)threads.height, (size_t)threads.depth, (int)most);
    return 0;
}

int soft_take_arguments(SoftEncoder *e, uint32_t *first_slot)
{
    const soft_kernel *k = e->kernel;
    const uint32_t first = *first_slot = TAKE(e->tape, slots, k->n_arguments);
    size_t shared = 0;
    for (int i = 0; i < k->n_arguments; i++)
        if (!take_argument(e, &k->arguments[i], &e->tape->slots[first + (uint32_t)i], &shared))
            return 0;
    if (shared <= MOST_THREADGROUP_BYTES) return 1;
    soft_spoil(e->tape, @"dispatch of %s: %zu bytes of threadgroup memory; there are %d",
               k->function->function->name, shared, MOST_THREADGROUP_BYTES);
    return 0;
}
