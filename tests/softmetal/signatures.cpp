/* Reads the declarations of a preprocessed MSL text.
 *
 * What C++ cannot take is rewritten: attributes go, function constants become external variables whose
 * values the specialiser puts in, threadgroup variables of a kernel become references to the threadgroup's one
 * copy, and constructors of vectors become calls of make<>.
 */
#include "signatures.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

namespace softmetal {

namespace {

struct attribute {
    std::string name, argument;
};

class reader {
  public:
    explicit reader(const std::string &text) : text(text), tokens(tokenize(text)) {}

    reading read()
    {
        declarations(0, tokens.size() - 1);
        expressions();
        if (result.error.empty())
            result.rewritten = apply_edits(text, edits) + entries();
        return result;
    }

  private:
    const std::string &text;
    std::vector<token> tokens;
    std::vector<edit> edits;
    std::map<std::string, kernel_info> templates; /* kernel templates by function name */
    std::set<std::string> vector_names;
    reading result;

    bool is(size_t i, const char *s) const { return tokens[i].text == s; }
    bool is_attribute(size_t i) const { return is(i, "[") && is(i + 1, "["); }
    std::string span(size_t first, size_t last) const
    {
        return text.substr(tokens[first].start, tokens[last - 1].end - tokens[first].start);
    }
    void erase(size_t first, size_t last)
    {
        edits.push_back(blank(text, tokens[first].start, tokens[last - 1].end));
    }
    void fail(size_t at, const std::string &what)
    {
        if (result.error.empty())
            result.error = tokens[at].file + ":" + std::to_string(tokens[at].line) + ": error: " + what;
    }

    /* [[a(x), b]] from token i; returns the token after it. */
    size_t attributes(size_t i, std::vector<attribute> &list)
    {
        const size_t end = skip_brackets(tokens, i);
        for (size_t k = i + 2; k < end - 2; k++) {
            if (tokens[k].kind != token_kind::identifier)
                continue;
            attribute a{tokens[k].text, ""};
            if (is(k + 1, "(")) {
                const size_t close = skip_brackets(tokens, k + 1);
                if (close - 1 > k + 2)
                    a.argument = span(k + 2, close - 1);
                k = close - 1;
            }
            list.push_back(a);
        }
        return end;
    }

    /* Top-level declarations of tokens [i, end): each ends with ; or with a body. */
    void declarations(size_t i, size_t end)
    {
        while (i < end) {
            if (tokens[i].kind == token_kind::directive || is(i, ";") || is(i, "}")) {
                i++;
                continue;
            }
            if (is(i, "namespace") || (is(i, "extern") && tokens[i + 1].kind == token_kind::literal)) {
                while (!is(i, "{") && !is(i, ";") && i < end)
                    i++;
                if (is(i, "{")) {
                    const size_t close = skip_brackets(tokens, i);
                    declarations(i + 1, close - 1);
                    i = close;
                }
                continue;
            }
            i = declaration(i, end);
        }
    }

    size_t declaration(size_t start, size_t end)
    {
        size_t i = start, body = 0;
        bool kernel = false, assigned = false;
        for (; i < end && !is(i, ";"); i++) {
            if (is(i, "(") || is(i, "[")) {
                if (is_attribute(i) && is(i + 2, "kernel"))
                    kernel = true;
                i = skip_brackets(tokens, i) - 1;
            } else if (is(i, "=")) {
                assigned = true;
            } else if (is(i, "{")) {
                const size_t close = skip_brackets(tokens, i);
                if (!assigned && !is(close, ";") && !is(close, ",")) {
                    body = i;
                    i = close;
                    break;
                }
                i = close - 1;
            } else if (is(i, "kernel")) {
                kernel = true;
            }
        }
        const size_t stop = body ? i : i + 1;
        if (kernel)
            kernel_declaration(start, body, stop);
        else if (is(start, "constant"))
            constant_declaration(start, stop);
        return stop;
    }

    void constant_declaration(size_t start, size_t stop)
    {
        for (size_t i = start; i < stop; i++) {
            if (!is_attribute(i) || !is(i + 2, "function_constant"))
                continue;
            std::vector<attribute> list;
            attributes(i, list);
            const std::string type = span(start + 1, i - 1), name = tokens[i - 1].text;
            result.constants.push_back({list[0].argument, type, name});
            edits.push_back({tokens[start].start, tokens[stop - 1].end,
                             "extern const " + type + " " + name + " __asm__(\"softmetal_value_" + name +
                                 "\"); extern \"C\" const bool softmetal_has_" + name + ";"});
            return;
        }
    }

    void kernel_declaration(size_t start, size_t body, size_t stop)
    {
        kernel_info k;
        std::vector<attribute> list;
        size_t i = start;
        bool is_template = false, instantiation = false;

        k.file = tokens[start].file, k.line = tokens[start].line;
        if (is(i, "template")) {
            is_template = is(i + 1, "<");
            instantiation = !is_template;
            i = is_template ? skip_brackets(tokens, i + 1) : i + 1;
        }
        for (;; i++) { /* attributes and specifiers, up to the type */
            if (is_attribute(i)) {
                const size_t next = attributes(i, list);
                erase(i, next);
                i = next - 1;
            } else if (is(i, "kernel")) {
                erase(i, i + 1);
            } else if (!is(i, "static") && !is(i, "inline")) {
                break;
            }
        }
        i = is(i, "decltype") ? skip_brackets(tokens, i + 1) : i + 1;
        const size_t name = i;
        while (tokens[i].kind == token_kind::identifier || is(i, "::"))
            i++;
        const std::string base = span(name, i);
        if (is(i, "<"))
            i = skip_brackets(tokens, i);
        k.function = span(name, i);
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
                return fail(name, "'" + base + "' is no kernel template");
            k.parameters = from->second.parameters;
            if (k.max_threads == "1024")
                k.max_threads = from->second.max_threads;
            erase(start, stop);
            result.kernels.push_back(k);
            return;
        }
        if (!is(i, "("))
            return fail(i, "a kernel's parameters are expected here");
        parameters(i, k);
        if (!body)
            return;
        threadgroup_variables(body, stop);
        if (is_template)
            templates[base] = k;
        else
            result.kernels.push_back(k);
    }

    void parameters(size_t open, kernel_info &k)
    {
        const size_t close = skip_brackets(tokens, open) - 1;
        size_t first = open + 1;
        while (first < close) {
            size_t i = first;
            parameter_info p;
            std::vector<attribute> list;
            for (; i < close && !is(i, ","); i++) {
                if (is(i, "<") || is(i, "(")) {
                    i = skip_brackets(tokens, i) - 1;
                } else if (is_attribute(i)) {
                    const size_t next = attributes(i, list);
                    erase(i, next);
                    i = next - 1;
                } else if (is(i, "&")) {
                    p.reference = true;
                } else if (is(i, "constant")) {
                    p.constant_space = true;
                } else if (tokens[i].kind == token_kind::identifier) {
                    p.name = tokens[i].text;
                }
            }
            for (const attribute &a : list) {
                if (a.name == "function_constant") {
                    p.condition = a.argument;
                    continue;
                }
                p.source = a.name;
                if (!a.argument.empty())
                    p.index = a.argument;
            }
            if (p.source.empty())
                fail(first, "parameter '" + p.name + "' of kernel '" + k.function +
                                "' has no attribute such as [[buffer(n)]]");
            k.parameters.push_back(p);
            first = i + 1;
        }
    }

    /* threadgroup float a[64], b; in a kernel's body. */
    void threadgroup_variables(size_t body, size_t stop)
    {
        int id = 0;
        for (size_t i = body; i < stop; i++) {
            if (!is(i, "threadgroup") || !(is(i - 1, ";") || is(i - 1, "{") || is(i - 1, "}")))
                continue;
            size_t end = i, name = 0;
            bool pointer = false;
            for (; !is(end, ";"); end++) {
                if (is(end, "<") || is(end, "[")) {
                    end = skip_brackets(tokens, end) - 1;
                } else if (is(end, "*") || is(end, "&") || is(end, "=")) {
                    pointer = true;
                } else if (!name && (is(end + 1, "[") || is(end + 1, ",") || is(end + 1, ";"))) {
                    name = end;
                }
            }
            if (pointer || !name)
                continue;
            const std::string type = span(i + 1, name);
            std::string out;
            for (size_t k = name; k < end; k++) {
                size_t after = k + 1;
                while (is(after, "["))
                    after = skip_brackets(tokens, after);
                const std::string own = tokens[k].text, extent = after > k + 1 ? span(k + 1, after) : "";
                out += "typedef " + type + " softmetal_" + own + extent + "; softmetal_" + own + " &" + own +
                       " = softmetal::static_variable<softmetal_" + own + ">(" + std::to_string(id++) + ");";
                k = after;
            }
            edits.push_back({tokens[i].start, tokens[end].end, out});
            i = end;
        }
    }

    bool names_vector(size_t i) const
    {
        static const std::set<std::string> elements = {"float", "half", "int",  "uint",  "short", "ushort",
                                                       "char",  "uchar", "bool", "long", "ulong"};
        std::string t = tokens[i].text;
        if (vector_names.count(t))
            return true;
        if (t.compare(0, 7, "packed_") == 0)
            t = t.substr(7);
        return t.size() > 1 && strchr("234", t.back()) && elements.count(t.substr(0, t.size() - 1));
    }

    /* using f4 = vec<float, 4>; or typedef float4 f4; */
    void vector_alias(size_t i)
    {
        if (is(i, "using") && is(i + 2, "=") &&
            (is(i + 3, "vec") || (names_vector(i + 3) && is(i + 4, ";")) || is(i + 3, "metal")))
            vector_names.insert(tokens[i + 1].text);
        if (is(i, "typedef") && names_vector(i + 1) && is(i + 3, ";"))
            vector_names.insert(tokens[i + 2].text);
    }

    void expressions()
    {
        for (size_t i = 0; i + 1 < tokens.size(); i++) {
            const token &t = tokens[i];
            vector_alias(i);
            if (t.kind == token_kind::number && (t.text.back() == 'h' || t.text.back() == 'H') &&
                t.text.compare(0, 2, "0x") != 0) {
                edits.push_back({t.start, t.end, "((half)" + t.text.substr(0, t.text.size() - 1) + "f)"});
            } else if (t.text == "is_function_constant_defined" && is(i + 1, "(")) {
                edits.push_back({t.start, tokens[i + 3].end, "(softmetal_has_" + tokens[i + 2].text + ")"});
            } else if (t.text == "vec" && is(i + 1, "<")) {
                const size_t after = skip_brackets(tokens, i + 1);
                if (is(after, "(")) {
                    edits.push_back({t.start, t.start, "make<metal::"});
                    edits.push_back({tokens[after - 1].end, tokens[after - 1].end, ">"});
                    if (i < 1 || !is(i - 1, "::"))
                        edits[edits.size() - 2].replacement = "metal::make<metal::";
                }
            } else if (t.kind == token_kind::identifier && is(i + 1, "(") && names_vector(i)) {
                const bool qualified = i > 0 && is(i - 1, "::");
                edits.push_back({t.start, t.end, (qualified ? "make<" : "metal::make<") + t.text + ">"});
            }
        }
    }

    /* For each kernel, the function that the threads start in, and what its arguments point to. */
    std::string entries()
    {
        std::string out = "\n# 1 \"softmetal\"\n";
        for (size_t n = 0; n < result.kernels.size(); n++) {
            const kernel_info &k = result.kernels[n];
            const std::string id = std::to_string(n), function = "decltype(&" + k.function + ")";
            std::string call, facts;
            for (size_t a = 0; a < k.parameters.size(); a++) {
                const parameter_info &p = k.parameters[a];
                const std::string type = "typename softmetal::parameter<" + function + ", " + std::to_string(a) + ">::type";
                call += a ? ", " : "";
                if (p.source == "buffer" || p.source == "threadgroup") {
                    call += "softmetal::in_" + p.source + "<" + type + ">(m, " + p.index + ")";
                    facts += "softmetal::facts<" + type + ">, " + p.index + ", ";
                } else {
                    call += "softmetal::" + p.source + "<" + type + ">(m, t)";
                    facts += "0, 0, ";
                }
            }
            if (n == 0)
                for (const constant_info &c : result.constants)
                    out += "extern \"C\" { extern const long softmetal_index_" + c.name + "; const long softmetal_index_" +
                           c.name + " = " + c.index + "; }\n";
            out += "extern \"C\" __attribute__((visibility(\"default\"))) void softmetal_entry_" + id +
                   "(softmetal::machine *m, softmetal::u32 t) { (void)m, (void)t; " + k.function + "(" + call +
                   "); }\n" + "extern \"C\" { extern const long softmetal_facts_" + id +
                   "[]; const long softmetal_facts_" + id + "[] = {" + facts + k.max_threads + "}; }\n";
        }
        return out;
    }
};

} // namespace

reading read_source(const std::string &preprocessed) { return reader(preprocessed).read(); }

} // namespace softmetal
