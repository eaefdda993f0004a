#include "signatures.h"

#include <map>
#include <set>

namespace softmetal {

namespace {

class reader {
  public:
    explicit reader(source &s) : s(s) {}

    signatures read()
    {
        for (const declaration &d : s.declarations) {
            if (d.kernel && s.scopes[(size_t)d.scope].kind == scope_kind::namespace_)
                kernel(d);
            else
                constant(d);
        }
        return result;
    }

  private:
    source &s;
    signatures result;
    std::map<std::string, kernel_info> templates; /* kernel templates by function name */
    std::set<std::string> names;                  /* of kernels */

    void erase(size_t first, size_t last)
    {
        result.edits.push_back(blank(s.text, s.tokens[first].start, s.tokens[last - 1].end));
    }

    /* constant int N [[function_constant(0)]]; becomes an external variable, to which the
     * specialiser gives a value. */
    void constant(const declaration &d)
    {
        size_t i = d.start;
        while (i < d.stop && !(s.is_attribute(i) && s.is(i + 2, "function_constant")))
            i++;
        if (i == d.stop || d.body >= 0)
            return;
        std::vector<attribute> list;
        const size_t after = s.attributes(i, list);
        const std::string name = s.tokens[i - 1].text, type = s.span(d.start + 1, i - 1);
        if (!s.is(d.start, "constant"))
            return s.refuse(i, "the function constant '" + name +
                                   "' has to be declared `constant`, at program scope");
        if (!s.is(after, ";"))
            return s.refuse(i, "the function constant '" + name + "' must not be initialized");
        static const std::set<std::string> types = {
            "bool", "char",   "uchar",   "short",   "ushort",   "int",     "uint",    "float",
            "half", "int8_t", "uint8_t", "int16_t", "uint16_t", "int32_t", "uint32_t"};
        if (!types.count(type))
            return s.refuse(i, "the function constant '" + name + "' is of type '" + type +
                                   "': a scalar is expected");
        result.constants.push_back({list[0].argument, type, name});
        result.edits.push_back({s.tokens[d.start].start, s.tokens[d.stop - 1].end,
                                "extern constant " + type + " " + name +
                                    " __asm__(\"softmetal_value_" + name +
                                    "\"); extern \"C\" const bool softmetal_has_" + name + ";"});
    }

    void kernel(const declaration &d)
    {
        kernel_info k;
        std::vector<attribute> list;
        size_t i = d.start;
        bool is_template = false, instantiation = false;

        k.file = s.tokens[i].file, k.line = s.tokens[i].line;
        if (s.is(i, "template")) {
            is_template = s.is(i + 1, "<");
            instantiation = !is_template;
            i = is_template ? skip_brackets(s.tokens, i + 1) : i + 1;
        }
        for (;; i++) { /* attributes and specifiers, up to the type */
            if (s.is_attribute(i)) {
                const size_t next = s.attributes(i, list);
                erase(i, next);
                i = next - 1;
            } else if (s.is(i, "kernel")) {
                erase(i, i + 1);
            } else if (!s.is(i, "static") && !s.is(i, "inline")) {
                break;
            }
        }
        if (!s.is(i, "void") && !s.is(i, "decltype"))
            s.refuse(i, "a kernel returns void, not '" + s.tokens[i].text + "'");
        i = s.is(i, "decltype") ? skip_brackets(s.tokens, i + 1) : i + 1;
        const size_t name = i;
        while (s.is_word(i) || s.is(i, "::"))
            i++;
        const std::string base = s.span(name, i);
        if (s.is(i, "<"))
            i = skip_brackets(s.tokens, i);
        k.function = s.span(name, i);
        k.name = base;
        for (const attribute &a : list) {
            if (a.name == "host_name")
                k.name = a.argument.substr(1, a.argument.size() - 2);
            if (a.name == "max_total_threads_per_threadgroup")
                k.max_threads = a.argument;
        }
        if (instantiation) {
            const auto from = templates.find(base);
            if (from == templates.end())
                return s.refuse(name, "'" + base + "' is no kernel template");
            k.parameters = from->second.parameters;
            if (k.max_threads == "1024")
                k.max_threads = from->second.max_threads;
            erase(d.start, d.stop);
            add(k, name);
            return;
        }
        if (!s.is(i, "("))
            return s.refuse(i, "a kernel's parameters are expected here");
        parameters(i, k);
        if (is_template)
            templates[base] = k;
        else if (d.body >= 0)
            add(k, name);
    }

    void add(const kernel_info &k, size_t at)
    {
        if (!names.insert(k.name).second)
            s.refuse(at, "there are two kernels '" + k.name + "': kernels cannot be overloaded");
        if (k.name == "main")
            s.refuse(at, "a kernel cannot be called main");
        result.kernels.push_back(k);
    }

    void parameters(size_t open, kernel_info &k)
    {
        const size_t close = skip_brackets(s.tokens, open) - 1;
        for (size_t first = open + 1; first < close;) {
            size_t i = first;
            parameter_info p;
            std::vector<attribute> list;
            for (; i < close && !s.is(i, ","); i++) {
                if (s.is(i, "<") || s.is(i, "(")) {
                    i = skip_brackets(s.tokens, i) - 1;
                } else if (s.is_attribute(i)) {
                    const size_t next = s.attributes(i, list);
                    erase(i, next);
                    i = next - 1;
                } else if (s.is(i, "&")) {
                    p.reference = true;
                } else if (s.is(i, "constant")) {
                    p.constant_space = true;
                } else if (s.is_word(i)) {
                    p.name = s.tokens[i].text;
                }
            }
            attributes_of(p, list, first, k);
            k.parameters.push_back(p);
            first = i + 1;
        }
    }

    void attributes_of(parameter_info &p, const std::vector<attribute> &list, size_t at,
                       const kernel_info &k)
    {
        for (const attribute &a : list) {
            if (a.name == "function_constant") {
                p.condition = a.argument;
            } else {
                p.source = a.name;
                p.index = a.argument;
            }
        }
        const std::string which = "parameter '" + p.name + "' of kernel '" + k.function + "'";
        if (p.source.empty())
            s.refuse(at, which + " has no attribute such as [[buffer(n)]]");
        else if (p.source == "buffer" || p.source == "threadgroup") {
            if (p.index.empty())
                s.refuse(at, which + ": [[" + p.source + "]] has no index");
        } else if (!is_built_in(p.source)) {
            s.refuse(at, which + ": there is no attribute [[" + p.source + "]] of kernels");
        }
    }
};

} // namespace

signatures read_signatures(source &s) { return reader(s).read(); }

bool is_built_in(const std::string &name)
{
    static const std::set<std::string> names = {
#define BUILT_IN(name, ...) #name,
#include "prelude/built_ins.def"
    };
    return names.count(name) > 0;
}

} // namespace softmetal
