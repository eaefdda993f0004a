/* What every header here needs. */
#ifndef SOFTMETAL_MTLDEFINES_H
#define SOFTMETAL_MTLDEFINES_H

#import <Foundation/Foundation.h>

#define MTL_EXPORT __attribute__((visibility("default")))
#define MTL_EXTERN extern MTL_EXPORT
#define MTL_INLINE static inline

#ifndef NS_RETURNS_RETAINED
#define NS_RETURNS_RETAINED
#endif

typedef double CFTimeInterval; /* CoreFoundation's, which GNUstep has not: seconds */

#endif
