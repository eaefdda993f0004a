/* Libraries: compiled, loaded, described, and their kernels made into programs. */
#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstring>

#include "compile.h"
#include "library.h"
#include "process.h"

using namespace softmetal;

namespace {

char *copy(const std::string &s) { return strdup(s.c_str()); }

msl_constant_type constant_type(const std::string &llvm)
{
    return llvm == "i8" || llvm == "i1"        ? MSL_BOOL
           : llvm == "float" || llvm == "half" ? MSL_FLOAT
                                               : MSL_INT;
}

int constant_index(const msl_library *l, const std::string &name)
{
    for (size_t i = 0; i < l->constants.size(); i++)
        if (name == l->constants[i].name)
            return l->constants[i].index;
    return MSL_DERIVED;
}

void describe_functions(msl_library *l)
{
    for (const constant_info &c : l->m.constants) {
        const std::vector<long> index = l->m.numbers("softmetal_index_" + c.name);
        l->constants.push_back({index.empty() ? -1 : (int)index[0],
                                constant_type(l->m.type_of("softmetal_value_" + c.name)),
                                c.name.c_str()});
    }
    l->arguments.resize(l->m.kernels.size());
    l->parameters.resize(l->m.kernels.size());
    for (size_t k = 0; k < l->m.kernels.size(); k++) {
        const kernel_info &info = l->m.kernels[k];
        const std::vector<long> facts = l->m.numbers("softmetal_facts_" + std::to_string(k));
        for (size_t a = 0; a < info.parameters.size(); a++) {
            const parameter_info &p = info.parameters[a];
            if (p.source != "buffer" && p.source != "threadgroup")
                continue;
            msl_argument argument = {};
            argument.index = (int)facts[2 * a + 1];
            argument.kind = p.source == "threadgroup" ? MSL_THREADGROUP
                            : p.constant_space        ? MSL_CONSTANT
                                                      : MSL_DEVICE;
            argument.writable = facts[2 * a] & 1;
            argument.element_bytes = (size_t)facts[2 * a] / 512;
            argument.alignment = (size_t)facts[2 * a] / 2 % 256;
            argument.by_reference = p.reference;
            argument.condition = p.condition.empty() ? MSL_ALWAYS : constant_index(l, p.condition);
            argument.name = p.name.c_str();
            l->arguments[k].push_back(argument);
            l->parameters[k].push_back(a);
        }
        l->functions.push_back({info.name.c_str(), (int)l->arguments[k].size(),
                                l->arguments[k].data(), facts.empty() ? 1024 : (int)facts.back()});
    }
}

/* Where a program lies in memory. */
int compare_object(dl_phdr_info *info, size_t, void *data)
{
    program *p = (program *)data;
    link_map *map;
    if (dlinfo(p->handle, RTLD_DI_LINKMAP, &map) != 0 || info->dlpi_addr != map->l_addr)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD)
            p->end_of_code =
                info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
    p->start_of_code = info->dlpi_addr;
    return 1;
}
void find_code(program &p) { dl_iterate_phdr(compare_object, &p); }

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

} // namespace

const program *msl_library::find(const msl_function *function, const msl_constants *given,
                                 std::string &error)
{
    const std::lock_guard<std::mutex> lock(mutex);
    const size_t index = index_of(function);
    std::map<std::string, std::string> values;
    std::string key = std::to_string(index);

    for (const msl_constant &c : constants) {
        const bool has =
            given && c.index >= 0 && c.index < MSL_CONSTANTS && given->defined >> c.index & 1;
        const std::string name = c.name, symbol = "softmetal_value_" + name;
        values[symbol] = llvm_value(m.type_of(symbol), has ? given : nullptr, c.index);
        values["softmetal_has_" + name] = has ? "i8 1" : "i8 0";
        key += "," + values[symbol] + (has ? "+" : "-");
    }
    const auto known = programs.find(key);
    if (known != programs.end())
        return &known->second;
    for (const msl_constant &c : constants)
        if (values["softmetal_has_" + std::string(c.name)] == "i8 0" &&
            m.uses(index, std::string("softmetal_value_") + c.name) &&
            !m.uses(index, std::string("softmetal_has_") + c.name)) {
            error = std::string("kernel ") + function->name + " uses the function constant '" +
                    c.name + "' (index " + std::to_string(c.index) + "), which has no value";
            return nullptr;
        }
    std::string path;
    if (!compile_kernel(m, index, values, path, error))
        return nullptr;
    void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        error = dlerror();
        return nullptr;
    }
    const std::string number = std::to_string(index);
    program p = {};
    p.handle = handle;
    find_code(p);
    p.entry = (void (*)(machine *, u32))dlsym(handle, ("softmetal_entry_" + number).c_str());
    p.start = (void (*)())dlsym(handle, "softmetal_start");
    p.present = (const bool *)dlsym(handle, ("softmetal_present_" + number).c_str());
    return &(programs[key] = p);
}

msl_library *msl_compile(const char *source, const char *include_dir, enum msl_mode mode,
                         char **error)
{
    std::string library, text;
    if (!compile_source(source, include_dir, mode == MSL_CHECKED, library, text)) {
        *error = copy(text);
        return nullptr;
    }
    return open_library(library, error);
}

int msl_compile_to(const char *source, const char *include_dir, enum msl_mode mode,
                   const char *path, char **error)
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
const msl_function *msl_function_at(const msl_library *l, int i)
{
    return &l->functions[(size_t)i];
}
int msl_constant_count(const msl_library *l) { return (int)l->constants.size(); }
const msl_constant *msl_constant_at(const msl_library *l, int i)
{
    return &l->constants[(size_t)i];
}
