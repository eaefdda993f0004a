/* The C API of executor.h over the parts of the compiler and the workers. */
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "compile.h"
#include "executor.h"
#include "process.h"
#include "worker.h"

using namespace softmetal;

struct msl_library {
    module m;
    std::vector<msl_function> functions;
    std::vector<std::vector<msl_argument>> arguments;
    std::vector<msl_constant> constants;
    std::map<std::string, program> programs; /* by function and values */
    std::mutex mutex;
};

namespace {

char *copy(const std::string &s) { return strdup(s.c_str()); }

msl_constant_type constant_type(const std::string &llvm)
{
    return llvm == "i8" || llvm == "i1" ? MSL_BOOL : llvm == "float" || llvm == "half" ? MSL_FLOAT : MSL_INT;
}

int constant_index(const msl_library *l, const std::string &name)
{
    for (size_t i = 0; i < l->constants.size(); i++)
        if (name == l->constants[i].name)
            return l->constants[i].index;
    return -1;
}

void describe_functions(msl_library *l)
{
    for (const constant_info &c : l->m.constants) {
        const std::vector<long> index = l->m.numbers("softmetal_index_" + c.name);
        l->constants.push_back({index.empty() ? -1 : (int)index[0],
                                constant_type(l->m.type_of("softmetal_value_" + c.name)), c.name.c_str()});
    }
    l->arguments.resize(l->m.kernels.size());
    for (size_t k = 0; k < l->m.kernels.size(); k++) {
        const kernel_info &info = l->m.kernels[k];
        const std::vector<long> facts = l->m.numbers("softmetal_facts_" + std::to_string(k));
        for (size_t a = 0; a < info.parameters.size(); a++) {
            const parameter_info &p = info.parameters[a];
            if (p.source != "buffer" && p.source != "threadgroup")
                continue;
            msl_argument argument = {};
            argument.index = (int)facts[2 * a + 1];
            argument.kind = p.source == "threadgroup" ? MSL_THREADGROUP : p.constant_space ? MSL_CONSTANT : MSL_DEVICE;
            argument.writable = facts[2 * a] & 1;
            argument.element_bytes = (size_t)facts[2 * a] / 2;
            argument.by_reference = p.reference;
            argument.condition = p.condition.empty() ? -1 : constant_index(l, p.condition);
            argument.name = p.name.c_str();
            l->arguments[k].push_back(argument);
        }
        l->functions.push_back({info.name.c_str(), (int)l->arguments[k].size(), l->arguments[k].data(),
                                facts.empty() ? 1024 : (int)facts.back()});
    }
}

msl_library *open_library(const std::string &text, char **error)
{
    msl_library *l = new msl_library;
    if (!l->m.load(text)) {
        *error = copy("this is no library of softmetal");
        delete l;
        return nullptr;
    }
    describe_functions(l);
    return l;
}

std::string llvm_value(const std::string &type, const msl_constants *values, int index)
{
    char text[64];
    if (type == "float" || type == "half") {
        double d = values ? values->values[index].f : 0;
        if (type == "half")
            d = (double)(_Float16)d;
        unsigned long bits;
        memcpy(&bits, &d, sizeof bits);
        snprintf(text, sizeof text, "%s 0x%016lX", type.c_str(), bits);
        return text;
    }
    snprintf(text, sizeof text, "%s %d", type.c_str(), values ? values->values[index].i : 0);
    return text;
}

const program *find_program(msl_library *l, const msl_function *function, const msl_constants *given, std::string &error)
{
    const std::lock_guard<std::mutex> lock(l->mutex);
    const size_t index = (size_t)(function - l->functions.data());
    std::map<std::string, std::string> values;
    std::string key = std::to_string(index);

    for (const msl_constant &c : l->constants) {
        const bool has = given && c.index >= 0 && c.index < MSL_CONSTANTS && given->defined >> c.index & 1;
        const std::string name = c.name, symbol = "softmetal_value_" + name;
        values[symbol] = llvm_value(l->m.type_of(symbol), has ? given : nullptr, c.index);
        values["softmetal_has_" + name] = has ? "i8 1" : "i8 0";
        key += "," + values[symbol] + (has ? "+" : "-");
    }
    const auto known = l->programs.find(key);
    if (known != l->programs.end())
        return &known->second;
    std::string path;
    if (!compile_kernel(l->m, index, values, path, error))
        return nullptr;
    void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        error = dlerror();
        return nullptr;
    }
    program p = {handle, nullptr, nullptr};
    p.entry = (void (*)(machine *, u32))dlsym(handle, ("softmetal_entry_" + std::to_string(index)).c_str());
    p.start = (void (*)())dlsym(handle, "softmetal_start");
    return &(l->programs[key] = p);
}

int report(msl_fault *fault, const std::string &text)
{
    snprintf(fault->text, sizeof fault->text, "%s", text.c_str());
    return -1;
}

/* Whether a conditional argument is there. */
bool present(const msl_argument &a, const msl_constants *c)
{
    return a.condition < 0 || (c && c->defined >> a.condition & 1 && c->values[a.condition].i);
}

std::string check_arguments(const msl_dispatch &d)
{
    const msl_function &f = *d.function;
    const std::string kernel = std::string("kernel ") + f.name + ": ";
    size_t threadgroup_bytes = 0;

    for (int i = 0; i < f.n_arguments; i++) {
        const msl_argument &a = f.arguments[i];
        if (!present(a, d.constants))
            continue;
        const std::string name = std::string(a.kind == MSL_THREADGROUP ? "threadgroup(" : "buffer(") +
                                 std::to_string(a.index) + ") '" + a.name + "'";
        if (a.kind == MSL_THREADGROUP) {
            if (d.threadgroup_bytes[a.index] == 0)
                return kernel + name + " has no length";
        } else if (!d.buffers[a.index].address) {
            return kernel + name + " is not bound";
        } else if (a.by_reference && d.buffers[a.index].length < a.element_bytes) {
            return kernel + name + " has " + std::to_string(d.buffers[a.index].length) + " bytes, its argument " +
                   std::to_string(a.element_bytes);
        }
    }
    for (const size_t bytes : d.threadgroup_bytes)
        threadgroup_bytes += (bytes + 15) / 16 * 16;
    if (threadgroup_bytes > THREADGROUP_LIMIT)
        return kernel + std::to_string(threadgroup_bytes) + " bytes of threadgroup memory exceed the limit of " +
               std::to_string(THREADGROUP_LIMIT);
    const u64 threads = (u64)d.threads[0] * d.threads[1] * d.threads[2];
    if (threads == 0 || threads > (u64)f.max_threads)
        return kernel + std::to_string(threads) + " threads a threadgroup, the limit is " + std::to_string(f.max_threads);
    return "";
}

} // namespace

msl_library *msl_compile(const char *source, const char *include_dir, enum msl_mode mode, char **error)
{
    std::string library, text;
    if (!compile_source(source, include_dir, mode == MSL_CHECKED, library, text)) {
        *error = copy(text);
        return nullptr;
    }
    return open_library(library, error);
}

int msl_compile_to(const char *source, const char *include_dir, enum msl_mode mode, const char *path, char **error)
{
    std::string library, text;
    if (!compile_source(source, include_dir, mode == MSL_CHECKED, library, text)) {
        *error = copy(text);
        return -1;
    }
    if (!write_file(path, library)) {
        *error = copy(std::string("cannot write ") + path);
        return -1;
    }
    return 0;
}

msl_library *msl_load(const char *path, char **error)
{
    std::string text;
    if (!read_file(path, text)) {
        *error = copy(std::string("cannot read ") + path);
        return nullptr;
    }
    return open_library(text, error);
}

void msl_release(msl_library *l)
{
    if (!l)
        return;
    for (const auto &[key, p] : l->programs)
        dlclose(p.handle);
    delete l;
}

int msl_function_count(const msl_library *l) { return (int)l->functions.size(); }
const msl_function *msl_function_at(const msl_library *l, int i) { return &l->functions[(size_t)i]; }
int msl_constant_count(const msl_library *l) { return (int)l->constants.size(); }
const msl_constant *msl_constant_at(const msl_library *l, int i) { return &l->constants[(size_t)i]; }

int msl_prepare(msl_library *l, const msl_function *function, const msl_constants *constants, msl_fault *fault)
{
    std::string error;
    return find_program(l, function, constants, error) ? 0 : report(fault, error);
}

int msl_execute(msl_library *l, const msl_dispatch *d, int n_workers, msl_fault *fault)
{
    std::string error = check_arguments(*d);
    if (!error.empty())
        return report(fault, error);
    const program *p = find_program(l, d->function, d->constants, error);
    if (!p)
        return report(fault, error);
    execution e;
    e.dispatch = d;
    e.code = p;
    e.count = d->threadgroups[0] * d->threadgroups[1] * d->threadgroups[2];
    run_on_workers(e, n_workers);
    return e.failed ? report(fault, e.text) : 0;
}
