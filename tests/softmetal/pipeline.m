/* Pipelines: a function, and what has to be bound for it under its constants. */
#include "objects.h"

void soft_drop_kernel(soft_kernel *k)
{
    if (--k->references) return;
    [k->function release];
    free(k);
}

enum presence { ABSENT, PRESENT, UNKNOWN };

/* An argument with a condition is there only where that constant is true. What derives from
 * constants is known to compiled kernels only. */
static enum presence presence_of(const SoftFunction *f, int at)
{
    const int condition = f->function->arguments[at].condition;
    if (condition == MSL_ALWAYS) return PRESENT;
    if (condition >= 0)
        return f->constants.defined >> condition & 1 && f->constants.values[condition].i ? PRESENT
                                                                                         : ABSENT;
    if (!soft_set.kernels) return UNKNOWN;
    return msl_present(f->library->library, f->function, &f->constants, at) == 1 ? PRESENT : ABSENT;
}

/* Apple's GPUs want offsets in the data type's alignment, and in the constant space in 4 bytes at
 * least (Metal feature set tables, "Minimum constant buffer offset alignment"). */
static uint8_t offset_alignment(const msl_argument *a)
{
    return (uint8_t)(a->kind == MSL_CONSTANT && a->alignment < 4 ? 4 : a->alignment);
}

static void list_arguments(soft_kernel *k)
{
    const msl_function *f = k->function->function;
    for (int i = 0; i < f->n_arguments; i++) {
        const msl_argument *a = &f->arguments[i];
        const enum presence presence = presence_of(k->function, i);
        if (presence == ABSENT) continue;
        k->arguments[k->n_arguments++] = (kernel_argument){
            .index = (uint8_t)a->index,
            .kind = (uint8_t)a->kind,
            .alignment = offset_alignment(a),
            .is_writable = a->writable != 0,
            .may_be_absent = presence == UNKNOWN,
            .least = a->element_bytes,
            .name = a->name,
        };
    }
}

SoftPipeline *soft_new_pipeline(SoftDevice *device, id<MTLFunction> wanted,
                                MTLComputePipelineDescriptor *descriptor, NSError **error)
{
    SoftFunction *function = (SoftFunction *)wanted;
    if (!function) {
        soft_fault(@"newComputePipelineState: no function");
        return nil;
    }
    if (!function->is_specialised && soft_set.kernels) {
        msl_fault fault;
        if (msl_prepare(function->library->library, function->function, &function->constants, &fault)) {
            if (error)
                *error = soft_error(MTLLibraryErrorDomain, MTLLibraryErrorCompileFailure, @"%@: %s",
                                    [function name], fault.text);
            return nil;
        }
    }
    soft_kernel *k = calloc(1, sizeof *k);
    if (!k) abort();
    k->references = 1;
    k->alive = 1;
    k->function = [function retain];
    k->max_threads = (uint32_t)function->function->max_threads;
    k->multiple = [descriptor threadGroupSizeIsMultipleOfThreadExecutionWidth] ? SIMD_THREADS : 1;
    const NSUInteger most = [descriptor maxTotalThreadsPerThreadgroup];
    if (most && most < k->max_threads) k->max_threads = (uint32_t)most;
    list_arguments(k);
    SoftPipeline *pipeline = [[SoftPipeline alloc] initWithDevice:device];
    pipeline->kernel = k;
    [pipeline setLabel:[descriptor label]];
    LOG("pipeline", function->function->name);
    return pipeline;
}

@implementation SoftPipeline
@dynamic label, device; /* SoftObject has them */

- (void)dealloc
{
    if (kernel->in_flight)
        soft_fault(@"the pipeline of %@ is released while the GPU uses it: its command buffer has "
                   @"unretained references and is not completed", [kernel->function name]);
    kernel->alive = 0;
    soft_drop_kernel(kernel);
    [super dealloc];
}

- (NSUInteger)maxTotalThreadsPerThreadgroup { return kernel->max_threads; }
- (NSUInteger)threadExecutionWidth { return SIMD_THREADS; }
- (NSUInteger)staticThreadgroupMemoryLength { return 0; /* kernels get theirs as arguments */ }

@end
