/* The kernels: the library they come from, and pipelines specialised by function constants. */
#include "metal/internal.h"

const char *kernel_name(enum kernel kernel)
{
    static const char *const names[] = {
#define KERNEL(name) #name,
#include "metal/kernels.def"
    };
    return names[kernel];
}

id<MTLLibrary> load_library(id<MTLDevice> gpu, const char *metallib, const char *source,
                            metal_error *error)
{
    NSError *reason = nil;
    id<MTLLibrary> library = nil;
    NSString *path = metallib ? [NSString stringWithUTF8String:metallib] : nil;
    if (path) {
        library = [gpu newLibraryWithURL:[NSURL fileURLWithPath:path] error:&reason];
    } else {
        MTLCompileOptions *options = [[[MTLCompileOptions alloc] init] autorelease];
        if (@available(macOS 13.0, *)) [options setLanguageVersion:MTLLanguageVersion3_0];
        [options setFastMathEnabled:NO]; /* results follow from the text, as on the CPU */
        library = [gpu newLibraryWithSource:[NSString stringWithUTF8String:source]
                                    options:options
                                      error:&reason];
    }
    if (!library)
        set_error(error, @"the kernels cannot be loaded from %@: %@",
                  path ? path : @"their source", [reason localizedDescription]);
    return library;
}

/* int constants are 32 bits wide, bool ones a byte. */
static int is_bool(int constant)
{
    switch (constant) {
    case CONSTANT_HAS_MATRIX_1:
    case CONSTANT_HAS_MATRIX_2:
    case CONSTANT_HAS_BIAS_0:
    case CONSTANT_HAS_BIAS_1:
    case CONSTANT_HAS_BIAS_2:
    case CONSTANT_HAS_NORM:
    case CONSTANT_HAS_RESIDUAL:
    case CONSTANT_SELECTED:
    case CONSTANT_KV_F16:
    case CONSTANT_SPLIT: return 1;
    default: return 0;
    }
}

static id<MTLComputePipelineState> build_pipeline(metal_device *device, const pipeline_key *key,
                                                  metal_error *error)
{
    NSError *reason = nil;
    MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    for (int i = 0; i < FUNCTION_CONSTANTS; i++) {
        if (!(key->defined >> i & 1)) continue;
        bool flag = key->values[i] != 0;
        if (is_bool(i))
            [values setConstantValue:&flag type:MTLDataTypeBool atIndex:(NSUInteger)i];
        else
            [values setConstantValue:&key->values[i] type:MTLDataTypeInt atIndex:(NSUInteger)i];
    }
    const char *name = kernel_name((enum kernel)key->kernel);
    id<MTLFunction> function =
        [[device->library newFunctionWithName:[NSString stringWithUTF8String:name]
                               constantValues:values
                                        error:&reason] autorelease];
    id<MTLComputePipelineState> state = nil;
    if (function) state = [device->gpu newComputePipelineStateWithFunction:function error:&reason];
    if (!state)
        set_error(error, @"%s: the kernel cannot be built: %@", name, [reason localizedDescription]);
    return state;
}

id<MTLComputePipelineState> find_pipeline(metal_device *device, const pipeline_key *key,
                                          metal_error *error)
{
    for (int i = 0; i < device->n_pipelines; i++)
        if (!memcmp(&device->pipelines[i].key, key, sizeof *key)) return device->pipelines[i].state;
    if (device->n_pipelines == device->room_for_pipelines) {
        int room = device->room_for_pipelines ? 2 * device->room_for_pipelines : 64;
        pipeline *grown = realloc(device->pipelines, (size_t)room * sizeof *grown);
        if (!grown) {
            set_error(error, @"out of memory for pipelines");
            return nil;
        }
        device->pipelines = grown;
        device->room_for_pipelines = room;
    }
    id<MTLComputePipelineState> state = build_pipeline(device, key, error);
    if (state) device->pipelines[device->n_pipelines++] = (pipeline){*key, state};
    return state;
}

void drop_pipelines(metal_device *device)
{
    for (int i = 0; i < device->n_pipelines; i++) [device->pipelines[i].state release];
    free(device->pipelines);
    device->pipelines = NULL;
    device->n_pipelines = device->room_for_pipelines = 0;
}
