/* Kernels and function constants of an MSL text. */
#ifndef SOFTMETAL_SIGNATURES_H
#define SOFTMETAL_SIGNATURES_H

#include <string>
#include <vector>

#include "source.h"

namespace softmetal {

struct parameter_info {
    std::string name;      /* of the parameter */
    std::string source;    /* buffer, threadgroup, or a built-in such as thread_position_in_grid */
    std::string condition; /* the constant that makes it present */
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

struct signatures {
    std::vector<kernel_info> kernels;
    std::vector<constant_info> constants;
    std::vector<edit> edits; /* that take what was read out of the text */
};

/* Refuses (s.errors) what is no kernel or function constant as MSL wants it. */
signatures read_signatures(source &s);

/* Whether a name is that of a built-in value of a kernel's thread. */
bool is_built_in(const std::string &name);

} // namespace softmetal
#endif
