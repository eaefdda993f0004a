#include "compile.h"

#include <unistd.h>

#include "process.h"

namespace softmetal {

namespace {

/* What the language is. A float literal is single precision, operations on half round to half, contraction
 * is what the source says (fma), and calls that threads meet in must not be duplicated. */
const std::vector<std::string> LANGUAGE = {
    "-std=c++17", "-fno-exceptions", "-fno-rtti", "-nostdinc", "-nostdinc++", "-fconvergent-functions",
    "-fno-math-errno", "-ffp-contract=off", "-Xclang", "-ffloat16-excess-precision=none", "-Xclang",
    "-cl-single-precision-constant", "-fno-strict-aliasing", "-fno-threadsafe-statics", "-flax-vector-conversions=none",
    "-fPIC", "-fvisibility=hidden", "-fno-caret-diagnostics", "-Wno-unknown-attributes", "-Wno-unknown-pragmas",
    "-Wno-duplicate-decl-specifier", "-Wno-vla-cxx-extension",
};
const std::vector<std::string> MACHINE = {
#if defined(__x86_64__)
    "-march=native", "-mno-red-zone", "-mprefer-vector-width=256",
#else
    "-mcpu=native",
#endif
};

std::vector<std::string> command(std::initializer_list<const std::vector<std::string> *> parts)
{
    std::vector<std::string> all = {compiler()};
    for (const auto *part : parts)
        all.insert(all.end(), part->begin(), part->end());
    return all;
}

bool preprocess(const std::string &source, const char *include_directory, std::string &result, std::string &error)
{
    const std::string in = fresh_name(".metal"), out = fresh_name(".i");
    if (!write_file(in, "#line 1 \"source\"\n" + source)) {
        error = "cannot write " + in;
        return false;
    }
    std::vector<std::string> arguments = {"-E", "-x", "c++", "-std=c++17", "-undef", "-nostdinc", "-nostdinc++",
                                          "-D__METAL__=1", "-D__METAL_VERSION__=300", "-D__HAVE_SOFTMETAL__=1",
                                          "-I" + prelude_directory() + "/include"};
    if (include_directory)
        arguments.push_back(std::string("-I") + include_directory);
    arguments.insert(arguments.end(), {"-o", out, in});
    const bool good = run_program(command({&arguments}), error) == 0 && read_file(out, result);
    unlink(in.c_str());
    unlink(out.c_str());
    return good;
}

bool lower(const std::string &text, bool checked, std::string &result, std::string &error)
{
    const std::string in = fresh_name(".ii"), out = fresh_name(".ll");
    if (!write_file(in, text)) {
        error = "cannot write " + in;
        return false;
    }
    std::vector<std::string> arguments = {"-O2", "-Xclang", "-disable-llvm-passes",
                                          "-gline-tables-only", "-gdwarf-4", "-S", "-emit-llvm", "-x", "c++",
                                          "-I" + prelude_directory(), "-include", "prelude.h", "-o", out, in};
    if (checked)
        arguments.insert(arguments.begin(), {"-DSOFTMETAL_CHECKED=1", "-fsanitize=kernel-address"});
    const bool good = run_program(command({&LANGUAGE, &MACHINE, &arguments}), error) == 0 && read_file(out, result);
    unlink(in.c_str());
    unlink(out.c_str());
    return good;
}

} // namespace

bool compile_source(const std::string &source, const char *include_directory, bool checked, std::string &library,
                    std::string &error)
{
    std::string preprocessed;
    if (compiler().empty()) {
        error = "softmetal needs clang++ (19 or later) on the path";
        return false;
    }
    if (!preprocess(source, include_directory, preprocessed, error))
        return false;
    const std::string path =
        cache_directory() + "/" + digest(environment() + (checked ? "checked" : "fast") + preprocessed) + ".library";
    if (read_file(path, library))
        return true;
    const reading r = read_source(preprocessed);
    if (!r.error.empty()) {
        error = r.error;
        return false;
    }
    std::string lowered;
    if (!lower(r.rewritten, checked, lowered, error))
        return false;
    library = write_head(r, checked) + lowered;
    write_file(path, library);
    return true;
}

bool compile_kernel(const module &m, size_t index, const std::map<std::string, std::string> &values, std::string &path,
                    std::string &error)
{
    const std::string text = m.specialise(index, values);
    path = cache_directory() + "/" + digest(environment() + (m.checked ? "checked" : "fast") + text) + ".so";
    if (access(path.c_str(), R_OK) == 0)
        return true;
    const std::string in = fresh_name(".ll"), out = fresh_name(".so");
    if (!write_file(in, text)) {
        error = "cannot write " + in;
        return false;
    }
    std::vector<std::string> arguments = {"-x", "ir", "-O2", "-fPIC", "-shared", "-Wno-override-module", "-fno-math-errno",
                                          "-ffp-contract=off", "-o", out, in, "-lm"};
    if (m.checked)
        arguments.insert(arguments.begin(), {"-fsanitize=kernel-address"});
    const bool good = run_program(command({&MACHINE, &arguments}), error) == 0 && rename(out.c_str(), path.c_str()) == 0;
    unlink(in.c_str());
    return good;
}

} // namespace softmetal
