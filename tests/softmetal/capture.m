/* Captures: a folder with the log of the commands between start and stop, in the place of the trace
 * that Xcode opens. */
#include "objects.h"

NSErrorDomain const MTLCaptureErrorDomain = @"MTLCaptureErrorDomain";

static MTLCaptureManager *the_manager;
static int log_was_on;
static size_t log_start; /* bytes of the log before the capture */

@implementation MTLCaptureDescriptor
@synthesize captureObject = _captureObject, destination = _destination, outputURL = _outputURL;

- (id)init
{
    if (!(self = [super init])) return nil;
    _destination = MTLCaptureDestinationDeveloperTools;
    soft_count(self, 1);
    return self;
}

- (void)dealloc
{
    [_captureObject release];
    [_outputURL release];
    soft_count(self, -1);
    [super dealloc];
}

- (id)copyWithZone:(NSZone *)zone
{
    MTLCaptureDescriptor *copy = [[MTLCaptureDescriptor allocWithZone:zone] init];
    [copy setCaptureObject:_captureObject];
    [copy setDestination:_destination];
    [copy setOutputURL:_outputURL];
    return copy;
}

@end

@implementation MTLCaptureManager

+ (MTLCaptureManager *)sharedCaptureManager
{
    @synchronized(self) {
        if (!the_manager) the_manager = [[MTLCaptureManager alloc] init];
    }
    return the_manager;
}

- (BOOL)isCapturing { return _outputURL != nil; }

- (BOOL)supportsDestination:(MTLCaptureDestination)destination
{
    return destination == MTLCaptureDestinationGPUTraceDocument && soft_set.captures;
}

/* Why a descriptor cannot be captured, or 0. */
- (MTLCaptureError)refuse:(MTLCaptureDescriptor *)descriptor
{
    id object = [descriptor captureObject];
    NSString *path = [[descriptor outputURL] path];
    if (![self supportsDestination:[descriptor destination]]) return MTLCaptureErrorNotSupported;
    if (_outputURL) return MTLCaptureErrorAlreadyCapturing;
    if (!path || [[NSFileManager defaultManager] fileExistsAtPath:path] ||
        !([object isKindOfClass:[SoftDevice class]] || [object isKindOfClass:[SoftQueue class]]))
        return MTLCaptureErrorInvalidDescriptor;
    if ([[NSFileManager defaultManager] createDirectoryAtPath:path
                                  withIntermediateDirectories:NO
                                                   attributes:nil
                                                        error:NULL])
        return 0;
    return MTLCaptureErrorInvalidDescriptor;
}

- (BOOL)startCaptureWithDescriptor:(MTLCaptureDescriptor *)descriptor error:(NSError **)error
{
    static NSString *const reasons[] = {
        nil, @"captures are not enabled", @"a capture is under way",
        @"it needs a device or a queue, and a new path in a folder that is there"};
    MTLCaptureError refused = [self refuse:descriptor];
    if (refused) {
        if (error) *error = soft_error(MTLCaptureErrorDomain, refused, @"%@", reasons[refused]);
        return NO;
    }
    _outputURL = [[descriptor outputURL] copy];
    log_was_on = soft_log_on;
    log_start = softmetal_log_text(NULL, 0);
    softmetal_log(1);
    LOG("capture", "start");
    return YES;
}

- (void)stopCapture
{
    if (!_outputURL) {
        soft_fault(@"stopCapture: no capture was started");
        return;
    }
    LOG("capture", "stop");
    size_t length = softmetal_log_text(NULL, 0);
    char *text = malloc(length + 1);
    if (!text) abort();
    softmetal_log_text(text, length + 1);
    [[NSData dataWithBytes:text + log_start length:length - log_start]
        writeToFile:[[_outputURL path] stringByAppendingPathComponent:@"log"]
         atomically:NO];
    free(text);
    softmetal_log(log_was_on);
    [_outputURL release];
    _outputURL = nil;
}

@end
