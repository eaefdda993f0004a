/* The C++ text that takes an MSL text's place. */
#ifndef SOFTMETAL_REWRITE_H
#define SOFTMETAL_REWRITE_H

#include <string>

#include "signatures.h"

namespace softmetal {

/* What C++ cannot take is rewritten, line by line: attributes go, function constants become
 * external variables, threadgroup variables of a kernel become references to the threadgroup's one
 * copy, and constructors of vectors become calls of make<>. */
std::string rewrite(const source &s, const signatures &known);

/* For each kernel the function in which its threads start, and constants for the host to find in
 * LLVM's text: softmetal_facts_<n>      of the n-th kernel: for each parameter its fact
 * (prelude/call.h) and its index (of a buffer or threadgroup, else 0), then the largest threadgroup
 *   softmetal_present_<n>    for each parameter whether it is there, which function constants
 * decide softmetal_index_<name>   of a function constant; its value is to be put into
 * softmetal_value_<name>, and whether it has one into softmetal_has_<name> */
std::string entries(const signatures &known);

/* Assertions on the types of kernels' parameters, for the strict pass. */
std::string type_checks(const signatures &known);

} // namespace softmetal
#endif
