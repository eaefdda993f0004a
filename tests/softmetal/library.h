/* A compiled MSL text behind the C API, and the programs made of it. */
#ifndef SOFTMETAL_LIBRARY_H
#define SOFTMETAL_LIBRARY_H

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "executor.h"
#include "module.h"
#include "worker.h"

struct msl_library {
    softmetal::module m;
    std::vector<msl_function> functions;
    std::vector<std::vector<msl_argument>> arguments;
    std::vector<std::vector<size_t>>
        parameters; /* of each argument: which of the kernel's parameters it is */
    std::vector<msl_constant> constants;
    std::map<std::string, softmetal::program> programs; /* by function and values */
    std::mutex mutex;                                   /* of the programs */

    /* Compiles if need be. NULL: `error` says why. */
    const softmetal::program *find(const msl_function *function, const msl_constants *given,
                                   std::string &error);

    size_t index_of(const msl_function *function) const
    {
        return (size_t)(function - functions.data());
    }
    bool present(const softmetal::program *p, const msl_function *function, int argument) const
    {
        return p->present[parameters[index_of(function)][(size_t)argument]];
    }
};

#endif
