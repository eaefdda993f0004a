/* A library: the LLVM text of a whole MSL file, from which one kernel at a time is taken.
 *
 * The file begins with comments that say what the text declares (write_head), so it is LLVM text
 * still.
 */
#ifndef SOFTMETAL_MODULE_H
#define SOFTMETAL_MODULE_H

#include <map>
#include <set>
#include <string>
#include <vector>

#include "signatures.h"

namespace softmetal {

std::string write_head(const signatures &known, bool checked);

struct module {
    bool checked = false;
    std::vector<kernel_info> kernels;
    std::vector<constant_info> constants;

    /* False: `text` is no library. */
    bool load(const std::string &text);

    /* Numbers of `@name = ... constant [N x i64] [i64 1, ...]` or of one i64. */
    std::vector<long> numbers(const std::string &name) const;

    /* The text of one kernel with all it needs; function constants get these values (LLVM
     * constants), by name without the prefix. Other kernels and what only they need are left out.
     */
    std::string specialise(size_t kernel, const std::map<std::string, std::string> &values) const;

    /* Whether a kernel's own code refers to a symbol, directly or through what it calls. */
    bool uses(size_t kernel, const std::string &symbol) const;

    /* LLVM's type of an external constant. */
    std::string type_of(const std::string &symbol) const;

    /* file:line: error: ..., for each function that calls itself, itself or through others. */
    std::vector<std::string> recursion() const;

  private:
    struct entity {
        size_t start, end; /* in `text` */
        bool function;
        std::vector<std::string> references;
    };
    std::string text;
    std::map<std::string, entity> entities; /* functions, declarations and globals */
    std::vector<std::pair<size_t, size_t>>
        metadata; /* lines of !0, !1, ...: debug information, mostly */
    std::vector<std::pair<size_t, size_t>> rest;     /* everything else */

    void scan();
    void keep_metadata(std::string &out) const;
    std::set<std::string> reachable(std::vector<std::string> roots) const;
    std::string place_of(const std::string &function) const;
};

} // namespace softmetal
#endif
