/* From MSL text to a library, and from a library's kernel to machine code. */
#ifndef SOFTMETAL_COMPILE_H
#define SOFTMETAL_COMPILE_H

#include <map>
#include <string>

#include "module.h"

namespace softmetal {

/* The library's text (module.h). False: `error` has the diagnostics. */
bool compile_source(const std::string &source, const char *include_directory, bool checked,
                    std::string &library, std::string &error);

/* Path of a shared object with the kernel `index`, whose entry is softmetal_entry_<index>. */
bool compile_kernel(const module &m, size_t index, const std::map<std::string, std::string> &values,
                    std::string &path, std::string &error);

} // namespace softmetal
#endif
