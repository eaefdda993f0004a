/* The objects that carry options to the device: no more than their properties. */
#include "objects.h"

/* Every class here is counted, and goes back to what it was born with by init. */
#define BORN                                                                                       \
    if (!(self = [super init])) return nil;                                                        \
    soft_count(self, 1)
#define GONE                                                                                       \
    soft_count(self, -1);                                                                          \
    [super dealloc]

@implementation MTLCompileOptions
@synthesize preprocessorMacros = _macros, mathMode = _mathMode, languageVersion = _languageVersion;
@synthesize mathFloatingPointFunctions = _functions;

- (id)init
{
    BORN;
    _mathMode = MTLMathModeFast;
    _languageVersion = soft_set.metal3 ? MTLLanguageVersion3_1 : MTLLanguageVersion2_4;
    return self;
}

- (void)dealloc
{
    [_macros release];
    GONE;
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLCompileOptions *copy = [[MTLCompileOptions allocWithZone:zone] init];
    [copy setPreprocessorMacros:_macros];
    [copy setMathMode:_mathMode];
    [copy setMathFloatingPointFunctions:_functions];
    [copy setLanguageVersion:_languageVersion];
    return copy;
}

- (BOOL)fastMathEnabled { return _mathMode == MTLMathModeFast; }
- (void)setFastMathEnabled:(BOOL)enabled
{
    _mathMode = enabled ? MTLMathModeFast : MTLMathModeSafe;
    _functions = enabled ? MTLMathFloatingPointFunctionsFast : MTLMathFloatingPointFunctionsPrecise;
}

@end

@implementation MTLFunctionConstantValues

- (id)init
{
    BORN;
    constant_values *values = calloc(1, sizeof *values);
    if (!values) abort();
    values->named = [[NSMutableDictionary alloc] init];
    _values = values;
    return self;
}

- (void)dealloc
{
    [((constant_values *)_values)->named release];
    free(_values);
    GONE;
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLFunctionConstantValues *copy = [[MTLFunctionConstantValues allocWithZone:zone] init];
    constant_values *to = copy->_values, *from = _values;
    NSMutableDictionary *named = to->named;
    *to = *from;
    to->named = named;
    [named setDictionary:from->named];
    return copy;
}

- (const constant_values *)softValues { return _values; }

/* A value as the 32 bits that the executor takes; 0 where the type is not offered. */
static int read_value(const void *value, MTLDataType type, int32_t *bits)
{
    switch (type) {
    case MTLDataTypeBool: *bits = *(const uint8_t *)value != 0; return 1;
    case MTLDataTypeChar: *bits = *(const int8_t *)value; return 1;
    case MTLDataTypeUChar: *bits = *(const uint8_t *)value; return 1;
    case MTLDataTypeShort: *bits = *(const int16_t *)value; return 1;
    case MTLDataTypeUShort: *bits = *(const uint16_t *)value; return 1;
    case MTLDataTypeInt:
    case MTLDataTypeUInt:
    case MTLDataTypeFloat: memcpy(bits, value, sizeof *bits); return 1;
    default: soft_fault(@"setConstantValue: type %d is not offered", (int)type); return 0;
    }
}

- (void)setConstantValue:(const void *)value type:(MTLDataType)type atIndex:(NSUInteger)index
{
    constant_values *values = _values;
    int32_t bits;
    if (index >= MSL_CONSTANTS) {
        soft_fault(@"setConstantValue: index %d; this device has constants 0 to %d", (int)index,
                   MSL_CONSTANTS - 1);
        return;
    }
    if (!read_value(value, type, &bits)) return;
    values->defined |= (uint64_t)1 << index;
    values->types[index] = type;
    values->values[index].i = bits;
}

- (void)setConstantValues:(const void *)all type:(MTLDataType)type withRange:(NSRange)range
{
    const size_t size = type == MTLDataTypeBool || type == MTLDataTypeChar || type == MTLDataTypeUChar ? 1
                        : type == MTLDataTypeShort || type == MTLDataTypeUShort                        ? 2
                                                                                                       : 4;
    for (NSUInteger i = 0; i < range.length; i++)
        [self setConstantValue:(const char *)all + i * size type:type atIndex:range.location + i];
}

- (void)setConstantValue:(const void *)value type:(MTLDataType)type withName:(NSString *)name
{
    int32_t bits;
    if (!read_value(value, type, &bits)) return;
    [((constant_values *)_values)->named
        setObject:[NSArray arrayWithObjects:[NSNumber numberWithInt:(int)type],
                                            [NSNumber numberWithInt:bits], nil]
           forKey:name];
}

- (void)reset
{
    [((constant_values *)_values)->named removeAllObjects];
    ((constant_values *)_values)->defined = 0;
}

@end

@implementation MTLFunctionConstant
@synthesize name = _name, type = _type, index = _index;

- (void)softDescribe:(const msl_constant *)constant
{
    _name = [[NSString alloc] initWithUTF8String:constant->name];
    _index = (NSUInteger)constant->index;
    _type = constant->type == MSL_BOOL    ? MTLDataTypeBool
            : constant->type == MSL_FLOAT ? MTLDataTypeFloat
                                          : MTLDataTypeInt;
}

- (void)dealloc
{
    [_name release];
    [super dealloc];
}

- (BOOL)required { return YES; }

@end

@implementation MTLComputePipelineDescriptor
@synthesize label = _label, computeFunction = _computeFunction;
@synthesize threadGroupSizeIsMultipleOfThreadExecutionWidth = _multiple;
@synthesize maxTotalThreadsPerThreadgroup = _most;

- (id)init
{
    BORN;
    return self;
}

- (void)dealloc
{
    [self reset];
    GONE;
}

- (void)reset
{
    [self setLabel:nil];
    [self setComputeFunction:nil];
    _multiple = NO;
    _most = 0;
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLComputePipelineDescriptor *copy = [[MTLComputePipelineDescriptor allocWithZone:zone] init];
    [copy setLabel:_label];
    [copy setComputeFunction:_computeFunction];
    [copy setThreadGroupSizeIsMultipleOfThreadExecutionWidth:_multiple];
    [copy setMaxTotalThreadsPerThreadgroup:_most];
    return copy;
}

@end

@implementation MTLCommandBufferDescriptor
@synthesize retainedReferences = _retainedReferences, errorOptions = _errorOptions;

- (id)init
{
    BORN;
    _retainedReferences = YES;
    return self;
}

- (void)dealloc
{
    GONE;
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLCommandBufferDescriptor *copy = [[MTLCommandBufferDescriptor allocWithZone:zone] init];
    [copy setRetainedReferences:_retainedReferences];
    [copy setErrorOptions:_errorOptions];
    return copy;
}

@end

@implementation MTLResidencySetDescriptor
@synthesize label = _label, initialCapacity = _initialCapacity;

- (id)init
{
    BORN;
    return self;
}

- (void)dealloc
{
    [_label release];
    GONE;
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLResidencySetDescriptor *copy = [[MTLResidencySetDescriptor allocWithZone:zone] init];
    [copy setLabel:_label];
    [copy setInitialCapacity:_initialCapacity];
    return copy;
}

@end
