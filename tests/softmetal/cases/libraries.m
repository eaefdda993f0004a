/* Libraries, functions, constants and pipelines. */
#include "cases.h"

#include "executor.h"

static id<MTLLibrary> compile(NSString *text, MTLCompileOptions *options)
{
    NSError *error = nil;
    id<MTLLibrary> library = [device newLibraryWithSource:text options:options error:&error];
    if (!library) say_error("refused", error);
    return [library autorelease];
}

static NSString *const with_macro = @"#include <metal_stdlib>\nusing namespace metal;\n"
                                    @"kernel void NAME(device float *y [[buffer(0)]]) { y[0] = VALUE; }\n";

CASE(macros)
{
    MTLCompileOptions *options = [[[MTLCompileOptions alloc] init] autorelease];
    say("fast_math", [options fastMathEnabled]); /* the default, as on a Mac */
    [options setFastMathEnabled:NO];
    say("safe_math", [options mathMode] == MTLMathModeSafe);
    [options setPreprocessorMacros:[NSDictionary dictionaryWithObjectsAndKeys:@"chosen", @"NAME",
                                                                              @"7", @"VALUE", nil]];
    [options setLanguageVersion:MTLLanguageVersion3_0];
    id<MTLLibrary> library = compile(with_macro, options);
    for (NSString *name in [library functionNames]) say_text("function", [name UTF8String]);
}

/* Reads below the offset at which its buffer is bound, in memory that is there. */
static void read_before(void)
{
    id<MTLLibrary> library = compile(@"#include <metal_stdlib>\n"
                                     @"kernel void f(device float *y [[buffer(0)]]) { y[0] = y[-1]; }\n",
                                     nil);
    id<MTLFunction> function = [[library newFunctionWithName:@"f"] autorelease];
    id<MTLComputePipelineState> state =
        [[device newComputePipelineStateWithFunction:function error:NULL] autorelease];
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:state];
    [encoder setBuffer:floats(32, 1.0f) offset:64 atIndex:0];
    dispatch(encoder, 1, 1);
    finish(commands, encoder);
}

CASE(mode_of_environment) { read_before(); }
CASE(mode_checked)
{
    softmetal_set_checked(1);
    read_before();
}

CASE(no_compile) { compile(@"kernel void f(device float *y [[buffer(0)]]) { y[0] = nothing; }", nil); }

CASE(new_language)
{
    MTLCompileOptions *options = [[[MTLCompileOptions alloc] init] autorelease];
    softmetal_set_metal3(0);
    [options setLanguageVersion:MTLLanguageVersion3_0];
    compile(with_macro, options);
}

CASE(no_file)
{
    NSError *error = nil;
    id<MTLLibrary> library = [device newLibraryWithURL:[NSURL fileURLWithPath:@"/nowhere.metallib"]
                                                 error:&error];
    say("made", library != nil);
    say_error("refused", error);
}

CASE(file)
{
    char *diagnostics = NULL;
    const char *path = getenv("LIBRARY_PATH");
    NSError *error = nil;
    const char *text = "#include <metal_stdlib>\nkernel void f(device float *y [[buffer(0)]]) { y[0] = 9; }";
    say("written", msl_compile_to(text, NULL, MSL_FAST, path, &diagnostics) == 0);
    NSURL *url = [NSURL fileURLWithPath:[NSString stringWithUTF8String:path]];
    id<MTLLibrary> library = [[device newLibraryWithURL:url error:&error] autorelease];
    id<MTLFunction> function = [[library newFunctionWithName:@"f"] autorelease];
    id<MTLComputePipelineState> state =
        [[device newComputePipelineStateWithFunction:function error:&error] autorelease];
    id<MTLBuffer> y = floats(4, 0.0f);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    [encoder setComputePipelineState:state];
    [encoder setBuffer:y offset:0 atIndex:0];
    dispatch(encoder, 1, 1);
    finish(commands, encoder);
    say("result", at(y, 0));
}

CASE(no_function)
{
    NSError *error = nil;
    MTLFunctionConstantValues *none = [[[MTLFunctionConstantValues alloc] init] autorelease];
    say("plain", [kernels() newFunctionWithName:@"absent"] != nil);
    say("specialised", [kernels() newFunctionWithName:@"absent" constantValues:none
                                                error:&error] != nil);
    say_error("refused", error);
}

/* Function constants: bias (int, 0), has_z (bool, 1), factor (float, 2). */
static id<MTLFunction> specialise(NSString *name, MTLFunctionConstantValues *values)
{
    NSError *error = nil;
    id<MTLFunction> function = [kernels() newFunctionWithName:name constantValues:values error:&error];
    if (!function) say_error("refused", error);
    return [function autorelease];
}

CASE(constant_missing)
{
    const int bias = 3;
    MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    [values setConstantValue:&bias type:MTLDataTypeInt atIndex:0];
    specialise(@"axpy", values);
    say("other", specialise(@"twice", values) != nil); /* which needs none */
}

CASE(constants_missing_from_pipeline)
{
    NSError *error = nil;
    id<MTLFunction> function = [[kernels() newFunctionWithName:@"scaled"] autorelease];
    say("function", function != nil);
    say("pipeline", [device newComputePipelineStateWithFunction:function error:&error] != nil);
    say_error("refused", error);
}

CASE(constant_of_another_type)
{
    const float bias = 3.0f;
    MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    [values setConstantValue:&bias type:MTLDataTypeFloat atIndex:0];
    specialise(@"axpy", values);
}

CASE(constants_listed)
{
    id<MTLFunction> function = [[kernels() newFunctionWithName:@"axpy"] autorelease];
    NSDictionary *all = [function functionConstantsDictionary];
    for (NSString *name in [[all allKeys] sortedArrayUsingSelector:@selector(compare:)]) {
        MTLFunctionConstant *constant = [all objectForKey:name];
        printf("constant %s %d %d\n", [name UTF8String], (int)[constant index], (int)[constant type]);
    }
}

/* Each way to give values, and what they do. */
CASE(constants_used)
{
    const int bias = 3;
    const bool yes = true;
    const float factor = 1.5f;
    MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    [values setConstantValue:&bias type:MTLDataTypeInt withName:@"bias"];
    [values setConstantValues:&yes type:MTLDataTypeBool withRange:NSMakeRange(1, 1)];
    [values setConstantValue:&factor type:MTLDataTypeFloat atIndex:2];
    NSString *const names[] = {@"axpy", @"scaled"};
    id<MTLBuffer> y = floats(32, 1.0f);
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder =
        [commands computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial];
    for (int i = 0; i < 2; i++) {
        MTLComputePipelineDescriptor *descriptor =
            [[[MTLComputePipelineDescriptor alloc] init] autorelease];
        [descriptor setComputeFunction:specialise(names[i], [[values copy] autorelease])];
        [descriptor setLabel:names[i]];
        id<MTLComputePipelineState> state =
            [[device newComputePipelineStateWithDescriptor:descriptor
                                                   options:MTLPipelineOptionNone
                                                reflection:NULL
                                                     error:NULL] autorelease];
        say_text("label", [[state label] UTF8String]);
        set_axpy(encoder, 2.0f, floats(32, 10.0f), y);
        [encoder setComputePipelineState:state];
        if (!i) [encoder setBuffer:floats(32, 100.0f) offset:0 atIndex:3];
        if (i) [encoder setBuffer:y offset:0 atIndex:0];
        dispatch(encoder, 1, 32);
    }
    finish(commands, encoder);
    say("result", at(y, 0)); /* (2 * 10 + 1 + 3 + 100) * 1.5 */
}

CASE(conditional_buffer_unbound)
{
    const int bias = 0;
    const bool yes = true;
    MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    [values setConstantValue:&bias type:MTLDataTypeInt atIndex:0];
    [values setConstantValue:&yes type:MTLDataTypeBool atIndex:1];
    id<MTLComputePipelineState> state =
        [[device newComputePipelineStateWithFunction:specialise(@"axpy", values) error:NULL] autorelease];
    id<MTLCommandBuffer> commands = [queue commandBuffer];
    id<MTLComputeCommandEncoder> encoder = begin(commands);
    set_axpy(encoder, 1.0f, floats(32, 0.0f), floats(32, 0.0f));
    [encoder setComputePipelineState:state];
    dispatch(encoder, 1, 32);
    finish(commands, encoder);
}

CASE(pipeline_facts)
{
    id<MTLComputePipelineState> wide = pipeline("twice"), narrow = pipeline("narrow");
    say("threads", (double)[wide maxTotalThreadsPerThreadgroup]);
    say("narrow", (double)[narrow maxTotalThreadsPerThreadgroup]);
    say("width", (double)[wide threadExecutionWidth]);
    say("static", (double)[wide staticThreadgroupMemoryLength]);
}
