/* GNUstep's headers ask for this where the compiler knows blocks; libBlocksRuntime's is Block.h. */
#include <Block.h>
