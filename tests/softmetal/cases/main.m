/* Runs the case that is named, and prints what the device reported: see cases.h. */
#include "cases.h"

#include "executor.h"

case_entry *all_cases;
id<MTLDevice> device;
id<MTLCommandQueue> queue;

static const char *folder; /* of the compiled libraries */
static const char *mode = "fast";
static id<MTLLibrary> library;

void check_accesses(void) { mode = "checked"; }

void say(const char *name, double value) { printf("%s %.9g\n", name, value); }
void say_text(const char *name, const char *text) { printf("%s %s\n", name, text); }
void say_error(const char *name, NSError *error)
{
    printf("%s %d %s\n", name, (int)[error code], [[error localizedDescription] UTF8String]);
}

id<MTLLibrary> kernels(void)
{
    if (library) return library;
    NSError *error = nil;
    NSString *path = [NSString stringWithFormat:@"%s/%s.metallib", folder, mode];
    library = [device newLibraryWithURL:[NSURL fileURLWithPath:path] error:&error];
    if (!library) say_error("library", error);
    return library;
}

id<MTLComputePipelineState> pipeline(const char *name)
{
    const int zero = 0;
    const float half = 0.5f;
    const bool no = false;
    NSError *error = nil;
    MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    [values setConstantValue:&zero type:MTLDataTypeInt atIndex:0];
    [values setConstantValue:&no type:MTLDataTypeBool atIndex:1];
    [values setConstantValue:&half type:MTLDataTypeFloat atIndex:2];
    id<MTLFunction> function =
        [[kernels() newFunctionWithName:[NSString stringWithUTF8String:name]
                         constantValues:values
                                  error:&error] autorelease];
    id<MTLComputePipelineState> state =
        function ? [device newComputePipelineStateWithFunction:function error:&error] : nil;
    if (!state) say_error("pipeline", error);
    return [state autorelease];
}

id<MTLBuffer> floats(int n, float value)
{
    id<MTLBuffer> buffer = [device newBufferWithLength:(NSUInteger)n * sizeof(float)
                                               options:MTLResourceStorageModeShared];
    for (int i = 0; i < n; i++) ((float *)[buffer contents])[i] = value;
    return [buffer autorelease];
}

float at(id<MTLBuffer> buffer, int index) { return ((float *)[buffer contents])[index]; }

id<MTLComputeCommandEncoder> begin(id<MTLCommandBuffer> commands)
{
    return [commands computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
}

void finish(id<MTLCommandBuffer> commands, id<MTLComputeCommandEncoder> encoder)
{
    [encoder endEncoding];
    [commands commit];
    [commands waitUntilCompleted];
    say("status", (double)[commands status]);
    if ([commands error]) say_error("error", [commands error]);
}

void set_axpy(id<MTLComputeCommandEncoder> encoder, float a, id<MTLBuffer> x, id<MTLBuffer> y)
{
    [encoder setComputePipelineState:pipeline("axpy")];
    [encoder setBytes:&a length:sizeof a atIndex:0];
    [encoder setBuffer:x offset:0 atIndex:1];
    [encoder setBuffer:y offset:0 atIndex:2];
}

void dispatch(id<MTLComputeCommandEncoder> encoder, int groups, int threads)
{
    [encoder dispatchThreadgroups:MTLSizeMake((NSUInteger)groups, 1, 1)
            threadsPerThreadgroup:MTLSizeMake((NSUInteger)threads, 1, 1)];
}

static void print_reports(void)
{
    static char text[1 << 16];
    for (int i = 0; softmetal_fault(i, text, sizeof text); i++) say_text("fault", text);
    softmetal_log_text(text, sizeof text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) say_text("log", line);
    softmetal_live_classes(text, sizeof text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) say_text("live", line);
}

/* Compiles kernels.metal for both modes into the folder. */
static int compile_kernels(const char *source)
{
    char path[1024], *diagnostics = NULL;
    NSString *text = [NSString stringWithContentsOfFile:[NSString stringWithUTF8String:source]
                                               encoding:NSUTF8StringEncoding
                                                  error:NULL];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s.metallib", folder, i ? "checked" : "fast");
        if (!msl_compile_to([text UTF8String], NULL, i ? MSL_CHECKED : MSL_FAST, path, &diagnostics))
            continue;
        fprintf(stderr, "%s: %s\n", source, diagnostics);
        return 1;
    }
    return 0;
}

static int run(const case_entry *c)
{
    @autoreleasepool {
        device = MTLCreateSystemDefaultDevice();
        queue = [device newCommandQueue];
        softmetal_log(1);
        c->run();
    }
    softmetal_log(0);
    [library release];
    [queue release];
    [device release];
    print_reports();
    return 0;
}

/* FOLDER compile SOURCE, or FOLDER run NAME, or nothing: the names. */
int main(int argc, char **argv)
{
    const int compiles = argc == 4 && !strcmp(argv[2], "compile");
    if (argc == 4) folder = argv[1];
    if (compiles) {
        @autoreleasepool {
            return compile_kernels(argv[3]);
        }
    }
    for (const case_entry *c = all_cases; c; c = c->next) {
        if (argc < 4)
            puts(c->name);
        else if (!strcmp(c->name, argv[3]))
            return run(c);
    }
    return argc < 4 ? 0 : 2;
}
