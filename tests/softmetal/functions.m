/* Libraries, functions and the values of their constants. */
#include "objects.h"

NSErrorDomain const MTLLibraryErrorDomain = @"MTLLibraryErrorDomain";

static SoftLibrary *wrap_library(SoftDevice *device, msl_library *library, char *diagnostics,
                                 NSInteger code, NSError **error)
{
    SoftLibrary *wrapped = nil;
    if (library) {
        wrapped = [[SoftLibrary alloc] initWithDevice:device];
        wrapped->library = library;
    } else if (error)
        *error = soft_error(MTLLibraryErrorDomain, code, @"%s",
                            diagnostics ? diagnostics : "the compiler gave no reason");
    free(diagnostics);
    return wrapped;
}

/* The source with the options' macros before it. */
static NSString *with_macros(NSString *source, MTLCompileOptions *options)
{
    NSDictionary *macros = [options preprocessorMacros];
    if (![macros count]) return source;
    NSMutableString *text = [NSMutableString string];
    for (NSString *name in macros) [text appendFormat:@"#define %@ %@\n", name, [macros objectForKey:name]];
    [text appendFormat:@"#line 1 \"program_source\"\n%@", source];
    return text;
}

id<MTLLibrary> soft_library_of_source(SoftDevice *device, NSString *source,
                                      MTLCompileOptions *options, NSError **error)
{
    const MTLLanguageVersion newest = !soft_set.metal3           ? MTLLanguageVersion2_4
                                      : !soft_set.residency_sets ? MTLLanguageVersion3_1
                                                                 : MTLLanguageVersion3_2;
    MTLLanguageVersion version = options ? [options languageVersion] : newest;
    if (version > newest)
        return wrap_library(device, NULL, strdup("the language version is not supported"),
                            MTLLibraryErrorUnsupported, error);
    char *diagnostics = NULL;
    msl_library *library = msl_compile([with_macros(source, options) UTF8String], NULL,
                                       soft_set.checked ? MSL_CHECKED : MSL_FAST, &diagnostics);
    if (library)
        LOG("library", NULL, msl_function_count(library), 1,
            options ? [options mathMode] != MTLMathModeSafe : 1, (int64_t)version);
    return wrap_library(device, library, diagnostics, MTLLibraryErrorCompileFailure, error);
}

id<MTLLibrary> soft_library_of_file(SoftDevice *device, NSURL *url, NSError **error)
{
    char *diagnostics = NULL;
    if (![[NSFileManager defaultManager] isReadableFileAtPath:[url path]])
        return wrap_library(device, NULL, strdup("there is no such library"),
                            MTLLibraryErrorFileNotFound, error);
    msl_library *library = msl_load([[url path] fileSystemRepresentation], &diagnostics);
    if (library) LOG("library", [[url path] UTF8String], msl_function_count(library), 0, 0, 0);
    return wrap_library(device, library, diagnostics, MTLLibraryErrorInternal, error);
}

@implementation SoftLibrary
@dynamic label, device; /* SoftObject has them */

- (void)dealloc
{
    msl_release(library);
    [super dealloc];
}

- (NSArray *)functionNames
{
    NSMutableArray *names = [NSMutableArray array];
    for (int i = 0; i < msl_function_count(library); i++)
        [names addObject:[NSString stringWithUTF8String:msl_function_at(library, i)->name]];
    return names;
}

- (SoftFunction *)newFunction:(NSString *)name
{
    for (int i = 0; i < msl_function_count(library); i++) {
        const msl_function *function = msl_function_at(library, i);
        if (strcmp(function->name, [name UTF8String])) continue;
        SoftFunction *wrapped = [[SoftFunction alloc] initWithDevice:device];
        wrapped->library = [self retain];
        wrapped->function = function;
        return wrapped;
    }
    return nil;
}

- (id<MTLFunction>)newFunctionWithName:(NSString *)name { return [self newFunction:name]; }

/* Values whose type is not the declared one are refused; those the library has not are ignored. */
static int take_constants(const msl_library *library, const constant_values *from, msl_constants *to,
                          NSError **error)
{
    for (int i = 0; i < msl_constant_count(library); i++) {
        const msl_constant *c = msl_constant_at(library, i);
        MTLDataType type = MTLDataTypeNone;
        if (from->defined >> c->index & 1) {
            type = from->types[c->index];
            to->values[c->index].i = from->values[c->index].i;
        }
        NSArray *named = [from->named objectForKey:[NSString stringWithUTF8String:c->name]];
        if (named) {
            type = (MTLDataType)[[named objectAtIndex:0] intValue];
            to->values[c->index].i = [[named objectAtIndex:1] intValue];
        }
        if (type == MTLDataTypeNone) continue;
        int fits = c->type == MSL_BOOL    ? type == MTLDataTypeBool
                   : c->type == MSL_FLOAT ? type == MTLDataTypeFloat
                                          : type != MTLDataTypeBool && type != MTLDataTypeFloat;
        if (!fits) {
            if (error)
                *error = soft_error(MTLLibraryErrorDomain, MTLLibraryErrorCompileFailure,
                                    @"the value of function constant %d, %s, has another type than "
                                    @"the constant", c->index, c->name);
            return 0;
        }
        to->defined |= (uint64_t)1 << c->index;
    }
    return 1;
}

- (id<MTLFunction>)newFunctionWithName:(NSString *)name
                        constantValues:(MTLFunctionConstantValues *)values
                                 error:(NSError **)error
{
    SoftFunction *made = [self newFunction:name];
    if (!made) {
        if (error)
            *error = soft_error(MTLLibraryErrorDomain, MTLLibraryErrorFunctionNotFound,
                                @"there is no function %@", name);
        return nil;
    }
    msl_fault fault;
    made->is_specialised = 1;
    if (!take_constants(library, [values softValues], &made->constants, error)) {
        [made release];
        return nil;
    }
    if (soft_set.kernels && msl_prepare(library, made->function, &made->constants, &fault)) {
        if (error)
            *error = soft_error(MTLLibraryErrorDomain, MTLLibraryErrorCompileFailure, @"%@: %s", name,
                                fault.text);
        [made release];
        return nil;
    }
    LOG("function", made->function->name);
    return made;
}

@end

@implementation SoftFunction
@dynamic label, device; /* SoftObject has them */

- (void)dealloc
{
    [library release];
    [super dealloc];
}

- (MTLFunctionType)functionType { return MTLFunctionTypeKernel; }
- (NSString *)name { return [NSString stringWithUTF8String:function->name]; }

- (NSDictionary *)functionConstantsDictionary
{
    NSMutableDictionary *all = [NSMutableDictionary dictionary];
    for (int i = 0; i < msl_constant_count(library->library); i++) {
        MTLFunctionConstant *constant = [[[MTLFunctionConstant alloc] init] autorelease];
        [constant softDescribe:msl_constant_at(library->library, i)];
        [all setObject:constant forKey:[constant name]];
    }
    return all;
}

@end
