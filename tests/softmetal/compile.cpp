#include "compile.h"

#include <unistd.h>

#include <iterator>
#include <sstream>
#include <thread>

#include "process.h"
#include "rewrite.h"
#include "strict.h"

namespace softmetal {

namespace {

std::vector<std::string> words(const std::string &text)
{
    std::istringstream in(text);
    return {std::istream_iterator<std::string>(in), {}};
}

/* What the language is. A float literal is single precision, operations on half round to half,
 * contraction is as with Metal's safe math: within an expression. */
const std::vector<std::string> LANGUAGE = words(
    "-std=c++17 -fno-exceptions -fno-rtti -nostdinc -nostdinc++ -fno-math-errno -ffp-contract=on "
    "-fno-strict-aliasing -fno-threadsafe-statics -flax-vector-conversions=none "
    "-Xclang -cl-single-precision-constant -Xclang -ffloat16-excess-precision=none "
    "-fno-caret-diagnostics -ferror-limit=0");
/* Calls that threads meet in must not be duplicated (convergent), and a large frame must not step
 * over a stack's guard page. */
const std::vector<std::string> CODE =
    words("-O2 -Xclang -disable-llvm-passes -fPIC -fvisibility=hidden -fconvergent-functions "
          "-fstack-clash-protection -gline-tables-only -gdwarf-4 -w");
const std::vector<std::string> STRICT =
    words("-fsyntax-only -DSOFTMETAL_STRICT=1 -Xclang -ast-dump -fno-color-diagnostics "
          "-Wno-everything -Werror=pre-c++17-compat -Werror=vla-cxx-extension -Werror=vla");
const std::vector<std::string> OBJECT =
    words("-x ir -O2 -fPIC -shared -Wno-override-module -fno-math-errno -ffp-contract=on");
#if defined(__x86_64__)
const std::vector<std::string> MACHINE =
    words("-march=native -mno-red-zone -mprefer-vector-width=256");
#else
const std::vector<std::string> MACHINE = words("-mcpu=native");
#endif

/* The hooks of checked mode: in the text's functions, and how they are called. */
const std::vector<std::string> CHECKED =
    words("-DSOFTMETAL_CHECKED=1 -fsanitize=kernel-address,alignment");
const std::vector<std::string> HOOKS =
    words("-fsanitize=kernel-address -mllvm -asan-instrumentation-with-call-threshold=0 "
          "-mllvm -asan-stack=0 -mllvm -asan-globals=0 -mllvm -asan-instrument-atomics=0 "
          "-mllvm -asan-kernel-mem-intrinsic-prefix=1");

std::vector<std::string> command(std::initializer_list<const std::vector<std::string> *> parts)
{
    std::vector<std::string> all = {compiler()};
    for (const auto *part : parts)
        all.insert(all.end(), part->begin(), part->end());
    return all;
}

/* A temporary file with this content, gone with the object. Compilers read it as their standard
 * input, so that its name does not get into what they make: that is kept under its content. */
struct temporary {
    const std::string path;
    temporary(const std::string &suffix, const std::string &content) : path(fresh_name(suffix))
    {
        write_file(path, content);
    }
    ~temporary() { unlink(path.c_str()); }
};

bool preprocess(const std::string &source, const char *include_directory, std::string &result,
                std::string &error)
{
    const temporary in(".metal", "#line 1 \"source\"\n" + source), out(".i", "");
    std::vector<std::string> arguments =
        words("-E -x c++ -std=c++17 -undef -nostdinc -nostdinc++ -fno-caret-diagnostics "
              "-D__METAL__=1 -D__METAL_VERSION__=300");
    arguments.push_back("-I" + prelude_directory() + "/include");
    if (include_directory)
        arguments.push_back(std::string("-I") + include_directory);
    arguments.insert(arguments.end(), {"-o", out.path, "-"});
    return run_program(command({&arguments}), error, in.path) == 0 && read_file(out.path, result);
}

std::string join(const std::vector<std::string> &lines)
{
    std::string all;
    for (const std::string &line : lines)
        all += line + "\n";
    return all;
}

/* C++ on the standard input, after the prelude. */
std::vector<std::string> from_input(const std::string &prelude)
{
    return {"-x", "c++", "-I" + prelude, "-include", "prelude.h", "-"};
}

std::string check_spaces(const std::string &text)
{
    const temporary in(".cpp", text);
    const std::vector<std::string> arguments = from_input(prelude_directory());
    std::string output;
    run_program(command({&LANGUAGE, &STRICT, &arguments}), output, in.path);
    return join(read_diagnostics(output, prelude_directory()));
}

bool lower(const std::string &text, bool checked, std::string &result, std::string &error)
{
    const temporary in(".cpp", text), out(".ll", "");
    std::vector<std::string> arguments = from_input(prelude_directory());
    arguments.insert(arguments.end(), {"-S", "-emit-llvm", "-o", out.path});
    /* what is kept in the cache may serve another copy of these sources, elsewhere */
    arguments.push_back("-fdebug-prefix-map=" + prelude_directory() + "=" + PRELUDE_IN_LINES);
    if (checked) {
        arguments.push_back("-fsanitize-ignorelist=" + prelude_directory() + "/ignore.list");
        arguments.insert(arguments.end(), CHECKED.begin(), CHECKED.end());
    }
    return run_program(command({&LANGUAGE, &CODE, &MACHINE, &arguments}), error, in.path) == 0 &&
           read_file(out.path, result);
}

/* The front end: what this text declares, or what is wrong with it. */
bool translate(const std::string &preprocessed, bool checked, std::string &library,
               std::string &error)
{
    source s(preprocessed);
    check_words(s);
    check_declarations(s);
    check_pointers(s);
    const signatures known = read_signatures(s);
    error = join(s.errors);
    if (!error.empty())
        return false;
    const std::string text = rewrite(s, known);
    std::string lowered, complaints;
    bool good;
    std::thread strict([&] { complaints = check_spaces(text + type_checks(known)); });
    good = lower(text + entries(known), checked, lowered, error);
    strict.join();
    if (!complaints.empty()) /* these name the rule; the other run's may be consequences */
        error = complaints;
    if (!good || !complaints.empty())
        return false;
    library = write_head(known, checked) + lowered;
    module m;
    m.load(library);
    error = join(m.recursion());
    return error.empty();
}

} // namespace

bool compile_source(const std::string &source, const char *include_directory, bool checked,
                    std::string &library, std::string &error)
{
    std::string preprocessed;
    if (compiler().empty()) {
        error = "softmetal needs clang++ (19 or later) on the path";
        return false;
    }
    const std::string mode = checked ? "checked" : "fast";
    if (include_directory && !preprocess(source, include_directory, preprocessed, error))
        return false;
    const std::string path =
        cache_directory() + "/" + digest(environment() + mode + source + preprocessed) + ".library";
    if (read_file(path, library))
        return true;
    if (!include_directory && !preprocess(source, nullptr, preprocessed, error))
        return false;
    if (!translate(preprocessed, checked, library, error))
        return false;
    write_file(path, library);
    prune_cache();
    return true;
}

bool compile_kernel(const module &m, size_t index, const std::map<std::string, std::string> &values,
                    std::string &path, std::string &error)
{
    const std::string text = m.specialise(index, values);
    path = cache_directory() + "/" +
           digest(environment() + (m.checked ? "checked" : "fast") + text) + ".so";
    if (access(path.c_str(), R_OK) == 0)
        return true;
    const temporary in(".ll", text);
    const std::string out = fresh_name(".so");
    std::vector<std::string> arguments = {"-o", out, in.path, "-lm"};
    if (m.checked)
        arguments.insert(arguments.end(), HOOKS.begin(), HOOKS.end());
    return run_program(command({&OBJECT, &MACHINE, &arguments}), error) == 0 &&
           rename(out.c_str(), path.c_str()) == 0;
}

} // namespace softmetal
