/* Kernels and function constants of an MSL text, and the C++ text that takes its place. */
#ifndef SOFTMETAL_SIGNATURES_H
#define SOFTMETAL_SIGNATURES_H

#include <string>
#include <vector>

#include "lexer.h"

namespace softmetal {

struct parameter_info {
    std::string name;      /* of the parameter */
    std::string source;    /* buffer, threadgroup, or a built-in such as thread_position_in_grid */
    std::string condition; /* the function constant that makes it present */
    std::string index;     /* of a buffer or threadgroup: a constant expression */
    bool constant_space = false, reference = false;
};

struct kernel_info {
    std::string name;     /* under which the host finds it */
    std::string function; /* as C++ calls it: matvec<4> */
    std::vector<parameter_info> parameters;
    std::string max_threads = "1024"; /* a constant expression */
    std::string file;
    int line = 0;
};

struct constant_info {
    std::string index; /* a constant expression */
    std::string type, name;
};

struct reading {
    std::vector<kernel_info> kernels;
    std::vector<constant_info> constants;
    std::string rewritten;
    std::string error; /* empty: none */
};

/* Values that only the compiler knows are left in the text as constants, for the host to find in LLVM's:
 *   softmetal_facts_<n>      of the n-th kernel: for each parameter its fact (prelude/call.h) and its
 *                            index (of a buffer or threadgroup, else 0), then the largest threadgroup
 *   softmetal_index_<name>   of a function constant; its value is to be put into softmetal_value_<name>,
 *                            and whether it has one into softmetal_has_<name> */
reading read_source(const std::string &preprocessed);

} // namespace softmetal
#endif
