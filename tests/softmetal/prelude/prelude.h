/* metal_stdlib for clang on this machine's processor: put before every MSL text. */
#include "machine.h"
#include "threads.h"
#include "types.h"
#include "math.h"
#include "simd.h"
#include "matrix.h"
#include "atomic.h"
#include "call.h"

using metal::vec; /* MSL names these without a namespace, too */
using metal::as_type;

#define device
#define constant const
#define threadgroup
#define thread
