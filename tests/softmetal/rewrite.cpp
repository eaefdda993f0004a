#include "rewrite.h"

#include <cstring>
#include <set>

namespace softmetal {

namespace {

class rewriter {
  public:
    rewriter(const source &s, const signatures &known) : s(s), edits(known.edits) {}

    std::string rewrite()
    {
        for (const scope &function : s.scopes)
            if (function.kernel)
                threadgroup_variables(function);
        for (size_t i = 0; i + 1 < s.tokens.size(); i++) {
            alias(i);
            expression(i);
        }
        return apply_edits(s.text, edits);
    }

  private:
    const source &s;
    std::vector<edit> edits;
    std::set<std::string> vector_names; /* besides MSL's own */

    /* threadgroup float a[64], b; in a kernel's body. */
    void threadgroup_variables(const scope &function)
    {
        int id = 0;
        for (size_t i = function.open; i < function.close; i++) {
            if (!s.is(i, "threadgroup") ||
                !(s.is(i - 1, ";") || s.is(i - 1, "{") || s.is(i - 1, "}")))
                continue;
            size_t end = i, name = 0;
            bool pointer = false;
            for (; !s.is(end, ";"); end++) {
                if (s.is(end, "<") || s.is(end, "["))
                    end = skip_brackets(s.tokens, end) - 1;
                else if (s.is(end, "*") || s.is(end, "&") || s.is(end, "="))
                    pointer = true;
                else if (!name && (s.is(end + 1, "[") || s.is(end + 1, ",") || s.is(end + 1, ";")))
                    name = end;
            }
            if (pointer || !name)
                continue;
            const std::string type = s.span(i + 1, name);
            std::string out;
            for (size_t k = name; k < end; k++) {
                size_t after = k + 1;
                while (s.is(after, "["))
                    after = skip_brackets(s.tokens, after);
                const std::string own = s.tokens[k].text, extent = s.span(k + 1, after);
                out += "typedef " + type + " softmetal_" + own + extent +
                       "; threadgroup softmetal_" + own + " &" + own +
                       " = softmetal::static_variable<softmetal_" + own + ">(" +
                       std::to_string(id++) + ");";
                k = after;
            }
            edits.push_back({s.tokens[i].start, s.tokens[end].end, out});
            i = end;
        }
    }

    bool names_vector(size_t i) const
    {
        static const std::set<std::string> elements = {"float", "half",   "int",  "uint",
                                                       "short", "ushort", "char", "uchar",
                                                       "bool",  "long",   "ulong"};
        std::string t = s.tokens[i].text;
        if (vector_names.count(t))
            return true;
        if (t.compare(0, 7, "packed_") == 0)
            t = t.substr(7);
        return t.size() > 1 && strchr("234", t.back()) && elements.count(t.substr(0, t.size() - 1));
    }

    /* using f4 = vec<float, 4>; or typedef float4 f4; */
    void alias(size_t i)
    {
        if (s.is(i, "using") && s.is(i + 2, "=") &&
            (s.is(i + 3, "vec") || (names_vector(i + 3) && s.is(i + 4, ";")) ||
             s.is(i + 3, "metal")))
            vector_names.insert(s.tokens[i + 1].text);
        if (s.is(i, "typedef") && names_vector(i + 1) && s.is(i + 3, ";"))
            vector_names.insert(s.tokens[i + 2].text);
    }

    void expression(size_t i)
    {
        const token &t = s.tokens[i];
        if (t.kind == token_kind::directive)
            return pragma(t);
        if (t.kind == token_kind::number && (t.text.back() == 'h' || t.text.back() == 'H') &&
            t.text.compare(0, 2, "0x"))
            return edits.push_back(
                {t.start, t.end, "((half)" + t.text.substr(0, t.text.size() - 1) + "f)"});
        if (!s.is_word(i))
            return;
        if (t.text == "is_function_constant_defined" && s.is(i + 1, "("))
            return edits.push_back(
                {t.start, s.tokens[i + 3].end, "(softmetal_has_" + s.tokens[i + 2].text + ")"});
        const std::string make = i > 0 && s.is(i - 1, "::") ? "make<" : "metal::make<";
        if (t.text == "vec" && s.is(i + 1, "<")) {
            const size_t after = skip_brackets(s.tokens, i + 1);
            if (s.is(after, "(")) {
                edits.push_back({t.start, t.start, make + "metal::"});
                edits.push_back({s.tokens[after - 1].end, s.tokens[after - 1].end, ">"});
            }
        } else if (s.is(i + 1, "(") && names_vector(i)) {
            edits.push_back({t.start, t.end, make + t.text + ">"});
        }
    }

    /* #pragma METAL fp contract(off) is clang's own pragma under another name. Unrolling is for a GPU's
     * registers: here it would only make compilation slow (twelve seconds for a large attention), so the
     * strict run alone sees it (spaces.h). */
    void pragma(const token &t)
    {
        const size_t what = t.text.find("clang loop");
        if (what != std::string::npos)
            edits.push_back({t.start, t.end, "SOFTMETAL_LOOP(" + t.text.substr(what) + ")"});
        else if (t.text.find("unroll") != std::string::npos)
            edits.push_back({t.start, t.end, "SOFTMETAL_LOOP(" + t.text.substr(t.text.find("unroll")) + ")"});
        const size_t at = t.text.find("METAL fp contract");
        if (at != std::string::npos)
            edits.push_back({t.start + at, t.start + at + strlen("METAL"), "clang"});
    }
};

std::string type_of(const kernel_info &k, size_t parameter)
{
    return "typename softmetal::parameter<decltype(&" + k.function + "), " +
           std::to_string(parameter) + ">::type";
}

bool is_memory(const parameter_info &p)
{
    return p.source == "buffer" || p.source == "threadgroup";
}

/* For comparisons of a parameter with an earlier one of the same kind. */
const char *kind_of(const std::string &source)
{
    static const struct {
        const char *name, *kind;
    } kinds[] = {
#define BUILT_IN(name, kind, ...) {#name, #kind},
#include "prelude/built_ins.def"
    };
    for (const auto &k : kinds)
        if (source == k.name)
            return k.kind;
    return "";
}

std::string assertion(const kernel_info &k, const std::string &condition, const std::string &text)
{
    return "# " + std::to_string(k.line) + " \"" + k.file + "\"\nstatic_assert(" + condition +
           ", \"kernel " + k.name + ": " + text + "\");\n";
}

} // namespace

std::string rewrite(const source &s, const signatures &known)
{
    return rewriter(s, known).rewrite();
}

std::string entries(const signatures &known)
{
    std::string out = "\n# 1 \"softmetal\"\n";
    for (const constant_info &c : known.constants)
        out += "extern \"C\" { extern const long softmetal_index_" + c.name +
               "; const long softmetal_index_" + c.name + " = " + c.index + "; }\n";
    for (size_t n = 0; n < known.kernels.size(); n++) {
        const kernel_info &k = known.kernels[n];
        const std::string id = std::to_string(n);
        std::string call, facts, present;
        for (size_t a = 0; a < k.parameters.size(); a++) {
            const parameter_info &p = k.parameters[a];
            const std::string type = type_of(k, a);
            call += a ? ", " : "";
            if (is_memory(p)) {
                call += "softmetal::in_" + p.source + "<" + type + ">(m, " + p.index + ")";
                facts += "softmetal::facts<" + type + ">, " + p.index + ", ";
            } else {
                call += "softmetal::" + p.source + "<" + type + ">(m, t)";
                facts += "0, 0, ";
            }
            present += p.condition.empty() ? "true, " : "(bool)(" + p.condition + "), ";
        }
        out += "extern \"C\" __attribute__((visibility(\"default\"))) void softmetal_entry_" + id +
               "(softmetal::machine *m, softmetal::u32 t) { (void)m, (void)t; " + k.function + "(" +
               call + "); }\n" + "extern \"C\" { extern const long softmetal_facts_" + id +
               "[]; const long softmetal_facts_" + id + "[] = {" + facts + k.max_threads + "};\n" +
               "extern __attribute__((visibility(\"default\"))) bool softmetal_present_" + id +
               "[]; bool softmetal_present_" + id + "[] = {" + present + "true}; }\n";
    }
    return out;
}

std::string type_checks(const signatures &known)
{
    std::string out = "\n";
    for (const kernel_info &k : known.kernels)
        for (size_t a = 0; a < k.parameters.size(); a++) {
            const parameter_info &p = k.parameters[a];
            const std::string type = type_of(k, a), name = "'" + p.name + "'";
            if (p.source == "buffer")
                out += assertion(k, "softmetal::is_buffer<" + type + ">",
                                 name + " is [[buffer]], so it is a pointer or reference to device "
                                        "or constant memory");
            else if (p.source == "threadgroup")
                out += assertion(k, "softmetal::is_threadgroup<" + type + ">",
                                 name + " is [[threadgroup]], so it is a pointer or reference to "
                                        "threadgroup memory");
            else
                out += assertion(k,
                                 std::string("softmetal::is_") +
                                     (strncmp(kind_of(p.source), "POS", 3) ? "index" : "position") +
                                     "<" + type + ">",
                                 name + " is [[" + p.source + "]], which has another type");
            if (is_memory(p))
                out += assertion(k, p.index + " >= 0 && " + p.index + " <= 30",
                                 name + " has an index beyond 30");
            for (size_t b = 0; b < a; b++) {
                const parameter_info &q = k.parameters[b];
                const std::string other = type_of(k, b), both = name + " and '" + q.name + "'";
                if (p.source == q.source && is_memory(p) &&
                    (p.condition.empty() || q.condition.empty()))
                    out += assertion(k, "(" + p.index + ") != (" + q.index + ")",
                                     both + " have the same index");
                if (is_memory(p) || is_memory(q))
                    continue;
                const std::string own = kind_of(p.source), others = kind_of(q.source);
                if (own.compare(0, 8, "POSITION") == 0 && others.compare(0, 8, "POSITION") == 0)
                    out += assertion(
                        k, "softmetal::width<" + type + "> == softmetal::width<" + other + ">",
                        both + " are positions or sizes of different dimensions");
                if (own == others && own != "POSITION" && own != "SCALAR")
                    out += assertion(k, "softmetal::same<" + type + ", " + other + ">",
                                     both + " need the same type");
            }
        }
    return out;
}

} // namespace softmetal
