/* A bounded cursor over the bytes of a file: the only way in which the reader moves and loads.
 *
 * Every function returns a gguf_status and leaves `position` at or before `size`.
 */
#ifndef SMELT_GGUF_CURSOR_H
#define SMELT_GGUF_CURSOR_H

#include "reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF values are loaded as they lie in the file: this needs a little-endian machine"
#endif

typedef struct {
    const uint8_t *bytes; /* [size] */
    uint64_t size;
    uint64_t position;
    gguf_error *error;
} cursor;

#define TRY(call)                       \
    do {                                \
        const int status_ = (call);     \
        if (status_ != GGUF_OK) {       \
            return status_;             \
        }                               \
    } while (0)

__attribute__((format(printf, 2, 3)))
static inline int refuse(cursor *at, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(at->error->message, sizeof at->error->message, format, values);
    va_end(values);
    return GGUF_REFUSED;
}

static inline uint64_t bytes_left(const cursor *at)
{
    return at->size - at->position;
}

static inline int skip(cursor *at, uint64_t nbytes, const char *what)
{
    if (nbytes > bytes_left(at)) {
        return refuse(at,
                      "%s at byte %" PRIu64 " needs %" PRIu64 " bytes, but the file ends at byte %" PRIu64
                      "; it is truncated or damaged",
                      what, at->position, nbytes, at->size);
    }
    at->position += nbytes;
    return GGUF_OK;
}

static inline int take_u32(cursor *at, uint32_t *value, const char *what)
{
    const uint8_t *from = at->bytes + at->position;
    TRY(skip(at, sizeof *value, what));
    memcpy(value, from, sizeof *value);
    return GGUF_OK;
}

static inline int take_u64(cursor *at, uint64_t *value, const char *what)
{
    const uint8_t *from = at->bytes + at->position;
    TRY(skip(at, sizeof *value, what));
    memcpy(value, from, sizeof *value);
    return GGUF_OK;
}

static inline int take_string(cursor *at, gguf_span *text, const char *what)
{
    uint64_t length;
    TRY(take_u64(at, &length, what));
    text->offset = at->position;
    text->length = length;
    return skip(at, length, what);
}

/* A key or a tensor's name. The specification bounds keys at 65,535 bytes and tensor names at 64;
 * programs with longer tensor names exist, so both get the wider bound. An empty name is what
 * padding looks like to a reader whose count of entries is too high. */
static inline int take_name(cursor *at, enum gguf_subject subject, uint64_t number, gguf_span *name)
{
    enum { MAX_NAME = 65535 };
    at->error->subject = subject;
    at->error->number = number;
    at->error->name.length = 0;
    TRY(take_string(at, name, "the name"));
    if (name->length == 0 || name->length > MAX_NAME) {
        return refuse(at, "expected a name of 1 to %d bytes, found %" PRIu64, MAX_NAME, name->length);
    }
    at->error->name = *name;
    return GGUF_OK;
}

/* The tensor descriptors, with the cursor behind the metadata: tensors.c. */
int gguf_read_tensors(cursor *at, gguf_index *index);

#endif
