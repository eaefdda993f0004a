/* Tapes: their arrays, and what they refer to. */
#include "objects.h"

void soft_grow(void **items, uint32_t wanted, uint32_t *room, size_t size)
{
    uint32_t more = *room ? *room : 64;
    while (more < wanted) more *= 2;
    *items = realloc(*items, more * size);
    if (!*items) abort();
    *room = more;
}

soft_tape *soft_take_tape(soft_stream *s)
{
    static _Atomic uint64_t serial;
    pthread_mutex_lock(&s->lock);
    soft_tape *t = s->n_idle ? s->idle[--s->n_idle] : calloc(1, sizeof *t);
    pthread_mutex_unlock(&s->lock);
    if (!t) abort();
    t->serial = ++serial;
    return t;
}

static void empty(soft_tape *t)
{
    for (uint32_t i = 0; i < t->n_memories; i++) soft_drop_memory(t->memories[i]);
    for (uint32_t i = 0; i < t->n_kernels; i++) soft_drop_kernel(t->kernels[i]);
    for (uint32_t i = 0; i < t->n_held; i++) [(id)t->held[i] release];
    t->n_commands = t->n_slots = t->n_bytes = t->n_used = t->n_memories = 0;
    t->n_kernels = t->n_held = t->n_segments = 0;
    t->epoch = 0;
    t->fault[0] = 0;
}

void soft_give_tape(soft_stream *s, soft_tape *t)
{
    empty(t);
    pthread_mutex_lock(&s->lock);
    if (s->n_idle == s->room_idle) {
        uint32_t room = (uint32_t)s->room_idle;
        soft_grow((void **)&s->idle, room + 1, &room, sizeof *s->idle);
        s->room_idle = (int)room;
    }
    s->idle[s->n_idle++] = t;
    pthread_mutex_unlock(&s->lock);
}

void soft_free_tape(soft_tape *t)
{
    free(t->commands);
    free(t->slots);
    free(t->bytes);
    free(t->used);
    free(t->memories);
    free(t->kernels);
    free(t->held);
    free(t->segments);
    free(t);
}

void soft_spoil(soft_tape *t, NSString *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    NSString *text = [[[NSString alloc] initWithFormat:format arguments:arguments] autorelease];
    va_end(arguments);
    if (t && !t->fault[0]) snprintf(t->fault, sizeof t->fault, "%s", [text UTF8String]);
    soft_fault(@"%@", text);
}

void soft_hold(soft_tape *t, id object) { PUSH(t, held, [object retain]); }

void soft_refer_buffer(SoftCommands *commands, SoftBuffer *buffer)
{
    soft_tape *t = commands->tape;
    soft_memory *m = buffer->memory;
    if (m->tape == t->serial) return;
    m->tape = t->serial;
    m->references++;
    PUSH(t, memories, m);
    if (commands->retains) soft_hold(t, buffer);
}

void soft_refer_pipeline(SoftCommands *commands, SoftPipeline *pipeline)
{
    soft_tape *t = commands->tape;
    soft_kernel *k = pipeline->kernel;
    if (k->tape == t->serial) return;
    k->tape = t->serial;
    k->references++;
    PUSH(t, kernels, k);
    if (commands->retains) soft_hold(t, pipeline);
}

/* Everything that the tape refers to is in use by the GPU from commit to completion. */
void soft_count_flight(soft_tape *t, int by)
{
    for (uint32_t i = 0; i < t->n_memories; i++) t->memories[i]->in_flight += by;
    for (uint32_t i = 0; i < t->n_kernels; i++) t->kernels[i]->in_flight += by;
}
