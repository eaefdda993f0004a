/* The classes of the software device, and the C structs behind them.
 *
 * Buffers and pipelines are C structs with a count of references, and the Objective-C object is one
 * of the references. Thus a command buffer without retained references can still say which
 * object was released too early.
 */
#ifndef SOFTMETAL_OBJECTS_H
#define SOFTMETAL_OBJECTS_H

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include <pthread.h>

#include "executor.h"
#include "settings.h"
#include "tape.h"

enum { MOST_THREADGROUP_BYTES = 32768, SIMD_THREADS = 32 };

@interface SoftDevice : NSObject <MTLDevice> {
  @public
    _Atomic size_t allocated;
    id<MTLCounterSet> timestamps;
}
@end

/* What the device makes: it holds the device, may have a label, and is counted while it lives. */
@interface SoftObject : NSObject {
  @public
    SoftDevice *device;
    NSString *label;
}
- (id)initWithDevice:(SoftDevice *)owner;
- (NSString *)label;
- (void)setLabel:(NSString *)text;
- (id<MTLDevice>)device;
@end

struct soft_memory {
    _Atomic int references; /* the SoftBuffer, and tapes */
    _Atomic int alive;      /* the SoftBuffer is */
    _Atomic int in_flight;  /* tapes that are committed and not completed */
    void *address;
    size_t length;
    int64_t number;
    int is_ours; /* from msl_allocate */
    uint64_t tape; /* serial of the tape that referred to it last */
    char label[64];
};
void soft_drop_memory(soft_memory *m);

@interface SoftBuffer : SoftObject <MTLBuffer> {
  @public
    soft_memory *memory;
    MTLResourceOptions options;
    void (^deallocator)(void *, NSUInteger);
}
/* Shares in m's reference. */
- (id)initWithMemory:(struct soft_memory *)m
              device:(SoftDevice *)owner
             options:(MTLResourceOptions)wanted
         deallocator:(void (^)(void *, NSUInteger))block;
@end

/* nil and a fault, or nil where there is no memory. */
SoftBuffer *soft_new_buffer(SoftDevice *device, NSUInteger length, MTLResourceOptions options,
                            const void *bytes);
SoftBuffer *soft_wrap_buffer(SoftDevice *device, void *pointer, NSUInteger length,
                             MTLResourceOptions options, void (^deallocator)(void *, NSUInteger));

@interface SoftLibrary : SoftObject <MTLLibrary> {
  @public
    msl_library *library;
}
@end

id<MTLLibrary> soft_library_of_source(SoftDevice *device, NSString *source,
                                      MTLCompileOptions *options, NSError **error);
id<MTLLibrary> soft_library_of_file(SoftDevice *device, NSURL *url, NSError **error);

@interface SoftFunction : SoftObject <MTLFunction> {
  @public
    SoftLibrary *library;
    const msl_function *function;
    msl_constants constants;
    int is_specialised;
}
@end

/* What MTLFunctionConstantValues holds. */
typedef struct {
    uint64_t defined;
    MTLDataType types[MSL_CONSTANTS];
    union {
        int32_t i;
        float f;
    } values[MSL_CONSTANTS];
    NSMutableDictionary *named; /* NSString: NSArray of the type and the value as NSNumbers */
} constant_values;

@interface MTLFunctionConstantValues (Soft)
- (const constant_values *)softValues;
@end
@interface MTLFunctionConstant (Soft)
- (void)softDescribe:(const msl_constant *)constant;
@end

/* An argument that a kernel has under its pipeline's constants. */
typedef struct {
    uint8_t index;
    uint8_t kind;           /* enum msl_argument_kind */
    uint8_t alignment;      /* of a buffer's offset */
    uint8_t is_writable, may_be_absent;
    size_t least;           /* bytes that have to be bound */
    const char *name;
} kernel_argument;

struct soft_kernel {
    _Atomic int references;
    _Atomic int alive, in_flight;
    uint64_t tape;
    SoftFunction *function; /* held until the last reference goes */
    kernel_argument arguments[2 * MSL_BUFFERS];
    int n_arguments;
    uint32_t max_threads, multiple; /* of threads in a threadgroup */
};
void soft_drop_kernel(soft_kernel *k);

@interface SoftPipeline : SoftObject <MTLComputePipelineState> {
  @public
    soft_kernel *kernel;
}
@end
/* `descriptor` may be nil. */
SoftPipeline *soft_new_pipeline(SoftDevice *device, id<MTLFunction> function,
                                MTLComputePipelineDescriptor *descriptor, NSError **error);

@class SoftCommands, SoftSegment;

/* The GPU's end of a queue: a thread and what it works through. Lives as long as either the queue
 * or its thread. */
typedef struct {
    pthread_mutex_t lock; /* recursive: objects go while it is held */
    pthread_cond_t changed;
    pthread_t thread;
    int references, stopped;
    SoftCommands **waiting; /* in order of enqueueing; each is retained */
    int n_waiting, room;
    int outstanding, committed; /* command buffers made and not completed; of these, committed */
    soft_tape **idle;                /* tapes to be used again */
    int n_idle, room_idle;
} soft_stream;

@interface SoftQueue : SoftObject <MTLCommandQueue> {
  @public
    soft_stream *stream;
    NSMutableArray *residency; /* of SoftResidency */
    NSUInteger most;
    int64_t number;
}
- (id)initWithDevice:(SoftDevice *)owner most:(NSUInteger)count;
@end

@interface SoftCommands : SoftObject <MTLCommandBuffer> {
  @public
    SoftQueue *queue;
    soft_tape *tape; /* NULL once it is completed */
    SoftSegment *encoder; /* the open one, not retained */
    NSMutableArray *residency;
    NSMutableArray *scheduledHandlers, *completedHandlers;
    NSError *error;
    _Atomic(MTLCommandBufferStatus) status;
    MTLCommandBufferErrorOption options;
    int retains, is_enqueued, is_done, depth;
    double gpu[2], kernel[2];
    int64_t number;
}
- (id)initWithQueue:(SoftQueue *)owner
             retain:(BOOL)retained
            options:(MTLCommandBufferErrorOption)wanted;
@end

soft_stream *soft_new_stream(void);
void soft_stop_stream(soft_stream *s);
void soft_give_tape(soft_stream *s, soft_tape *t); /* drops what it refers to and keeps it for reuse */
soft_tape *soft_take_tape(soft_stream *s);

/* Runs a tape: the error it ended with (autoreleased), or nil. */
NSError *soft_replay(SoftCommands *commands);

/* What compute and blit encoders share: the segment of the tape that they write. */
@interface SoftSegment : SoftObject <MTLCommandEncoder> {
  @public
    SoftCommands *commands;
    soft_tape *tape; /* NULL when it has ended */
    int depth;       /* of debug groups */
}
- (id)initWithCommands:(SoftCommands *)owner;
- (void)softAbandon; /* the end of an encoder that the host forgot to end */
@end
/* 0 and a fault where it has ended. */
int soft_is_open(const SoftSegment *encoder, const char *method);

@interface SoftEncoder : SoftSegment <MTLComputeCommandEncoder> {
  @public
    MTLDispatchType type;
    soft_kernel *kernel;
    uint32_t bound; /* bit n: slot n holds something */
    slot slots[MSL_BUFFERS];
    uint32_t threadgroup[MSL_BUFFERS];
}
- (id)initWithCommands:(SoftCommands *)owner type:(MTLDispatchType)wanted;
@end

/* Copies what the encoder's kernel has bound to the tape; 0 and a fault where Apple's validation would
 * refuse the dispatch. */
int soft_take_arguments(SoftEncoder *e, uint32_t *first_slot);
int soft_is_grid(SoftEncoder *e, MTLSize grid, MTLSize threads);

@interface SoftBlit : SoftSegment <MTLBlitCommandEncoder>
@end

void soft_free_tape(soft_tape *t);
/* A fault that also makes the command buffer fail when it is committed. */
void soft_spoil(soft_tape *t, NSString *format, ...) NS_FORMAT_FUNCTION(2, 3);
void soft_hold(soft_tape *t, id object); /* until the tape is given back */
void soft_count_flight(soft_tape *t, int by);
/* The tape refers to an object, and retains it where the command buffer does. */
void soft_refer_buffer(SoftCommands *commands, SoftBuffer *buffer);
void soft_refer_pipeline(SoftCommands *commands, SoftPipeline *pipeline);

@interface SoftResidency : SoftObject <MTLResidencySet> {
  @public
    NSMutableArray *allocations; /* with what is not committed yet */
    NSArray *committed;
}
@end

@interface SoftCounters : SoftObject <MTLCounterSampleBuffer> {
  @public
    NSUInteger count;
    MTLStorageMode storage;
    uint64_t *stamps;
}
@end
SoftCounters *soft_new_counters(SoftDevice *device, MTLCounterSampleBufferDescriptor *descriptor,
                                NSError **error);
id<MTLCounterSet> soft_timestamps(void);
/* The samples that a pass wants at the borders of the tape's last segment. */
void soft_sample_pass(soft_tape *t, MTLComputePassDescriptor *pass);
uint64_t soft_nanoseconds(void);
uint64_t soft_ticks(void); /* of the GPU's clock */

#endif
