/* metal_stdlib for clang on this machine's processor: put before every MSL text. */
#pragma clang system_header /* its own warnings are not the kernels' author's */
#include "machine.h"
#include "threads.h"
#include "spaces.h"
#include "types.h"
#include "math.h"
#include "simd.h"
#include "matrix.h"
#include "atomic.h"
#include "call.h"

using metal::as_type; /* MSL names these without a namespace, too */
using metal::vec;
