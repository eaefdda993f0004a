/* Dispatches: what is bound is compared with what the kernel declares, and the threadgroups run. */
#include <cstdio>

#include "library.h"

using namespace softmetal;

namespace {

int report(msl_fault *fault, const std::string &text)
{
    snprintf(fault->text, sizeof fault->text, "%s", text.c_str());
    return -1;
}

std::string check_argument(const msl_argument &a, const msl_dispatch &d)
{
    const std::string name = std::string(a.kind == MSL_THREADGROUP ? "threadgroup(" : "buffer(") +
                             std::to_string(a.index) + ") '" + a.name + "'";
    if (a.kind == MSL_THREADGROUP)
        return d.threadgroup_bytes[a.index]
                   ? ""
                   : name + " has no length: setThreadgroupMemoryLength was not called";
    const msl_binding &b = d.buffers[a.index];
    if (!b.address)
        return name + " is not bound";
    if (a.by_reference && b.length < a.element_bytes)
        return name + " has " + std::to_string(b.length) + " bytes, and the kernel takes " +
               std::to_string(a.element_bytes) + " by reference";
    return "";
}

std::string check_sizes(const msl_dispatch &d)
{
    size_t bytes = 0;
    for (const size_t n : d.threadgroup_bytes)
        bytes += (n + 15) / 16 * 16;
    if (bytes > THREADGROUP_LIMIT)
        return std::to_string(bytes) + " bytes of threadgroup memory exceed the limit of " +
               std::to_string(THREADGROUP_LIMIT);
    const u64 threads = (u64)d.threads[0] * d.threads[1] * d.threads[2];
    if (threads == 0 || threads > (u64)d.function->max_threads)
        return std::to_string(threads) + " threads a threadgroup; this kernel's limit is " +
               std::to_string(d.function->max_threads);
    return "";
}

} // namespace

int msl_prepare(msl_library *l, const msl_function *function, const msl_constants *constants,
                msl_fault *fault)
{
    std::string error;
    return l->find(function, constants, error) ? 0 : report(fault, error);
}

int msl_present(msl_library *l, const msl_function *function, const msl_constants *constants,
                int argument)
{
    std::string error;
    const program *p = l->find(function, constants, error);
    return p ? l->present(p, function, argument) : -1;
}

int msl_execute(msl_library *l, const msl_dispatch *d, int n_workers, msl_fault *fault)
{
    const msl_function &f = *d->function;
    std::string error;
    const program *p = l->find(&f, d->constants, error);
    if (!p)
        return report(fault, error);
    error = check_sizes(*d);
    for (int i = 0; i < f.n_arguments && error.empty(); i++)
        if (l->present(p, &f, i))
            error = check_argument(f.arguments[i], *d);
    const kernel_info &k = l->m.kernels[l->index_of(&f)];
    if (!error.empty())
        return report(fault, std::string("kernel ") + f.name + " (" + k.file + ":" +
                                 std::to_string(k.line) + "): " + error);
    static checker checks; /* over dispatches: these are serialised */
    execution e;
    e.dispatch = d;
    e.code = p;
    e.kernel = std::string("kernel ") + f.name;
    e.count = d->threadgroups[0] * d->threadgroups[1] * d->threadgroups[2];
    if (l->m.checked) {
        e.checks = &checks;
        checks.begin_dispatch(*d, p->start_of_code, p->end_of_code);
    }
    set_time_allowed();
    run_on_workers(e, n_workers);
    return e.failed ? report(fault, e.text) : 0;
}
