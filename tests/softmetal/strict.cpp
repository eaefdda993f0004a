#include "strict.h"

#include <map>
#include <set>

namespace softmetal {

namespace {

/* Words that MSL does not have, and why. */
const std::map<std::string, std::string> REFUSED = {
    {"double", "MSL has no 'double'"},
    {"virtual", "MSL has no virtual functions"},
    {"try", "MSL has no exceptions: 'try'"},
    {"catch", "MSL has no exceptions: 'catch'"},
    {"throw", "MSL has no exceptions: 'throw'"},
    {"new", "MSL has no 'new'"},
    {"delete", "MSL has no 'delete'"},
    {"goto", "MSL has no 'goto'"},
    {"dynamic_cast", "MSL has no 'dynamic_cast'"},
    {"typeid", "MSL has no 'typeid'"},
    {"thread_local", "MSL has no 'thread_local'"},
    {"register", "MSL has no 'register'"},
    {"noexcept", "MSL has no 'noexcept'"},
    {"asm", "MSL has no 'asm'"},
    {"__asm__", "MSL has no 'asm'"},
    {"wchar_t", "MSL has no 'wchar_t'"},
    {"bfloat", "'bfloat' is of MSL 3.1, these kernels are MSL 3.0"},
};

/* [ that begins an expression: a lambda. After `auto` it is a structured binding, which clang
 * refuses. */
bool begins_lambda(const source &s, size_t i)
{
    if (!s.is(i, "[") || s.is_attribute(i) || (i > 0 && s.is(i - 1, "[")))
        return false;
    if (i == 0)
        return false;
    const token &before = s.tokens[i - 1];
    if (before.kind == token_kind::identifier)
        return before.text == "return";
    if (before.kind != token_kind::punctuation)
        return false;
    return before.text != ")" && before.text != "]" && before.text != "}" && before.text != ">" &&
           before.text != "&" && before.text != "*";
}

bool in_function(const source &s, size_t i) { return s.function_of(i) >= 0; }

/* threadgroup T name[...]; -- not a pointer or reference. */
bool declares_threadgroup_variable(const source &s, size_t i, size_t stop)
{
    size_t names = 0;
    for (; i < stop && !s.is(i, ";"); i++) {
        if (s.is(i, "*") || s.is(i, "&") || s.is(i, "("))
            return false;
        if (s.is(i, "<") || s.is(i, "["))
            i = skip_brackets(s.tokens, i) - 1;
        names += s.is_word(i);
    }
    return names > 1;
}

void check_threadgroup_variable(source &s, size_t i)
{
    const int function = s.function_of(i);
    const bool starts = i == 0 || s.is(i - 1, ";") || s.is(i - 1, "{") || s.is(i - 1, "}");
    if (!starts || function < 0 || !declares_threadgroup_variable(s, i, s.tokens.size() - 1))
        return;
    if (!s.scopes[(size_t)function].kernel)
        s.refuse(i, "a threadgroup variable outside of a kernel: pass a pointer to the kernel's");
    else if (s.scope_of[i] != function)
        s.refuse(
            i,
            "a threadgroup variable in an inner block: declare it where the kernel's body begins");
    for (size_t k = i; !s.is(k, ";"); k++)
        if (s.is(k, "="))
            return s.refuse(i, "a threadgroup variable cannot be initialized");
}

void check_record(source &s, const scope &record)
{
    for (size_t i = record.head; i < record.open; i++) {
        if (s.is(i, "<"))
            i = skip_brackets(s.tokens, i) - 1;
        else if (s.is(i, ":"))
            return s.refuse(i, "MSL has no derived classes");
    }
}

bool mentions(const source &s, size_t first, size_t last, const char *word)
{
    for (size_t i = first; i < last; i++)
        if (s.is(i, word))
            return true;
    return false;
}

} // namespace

void check_words(source &s)
{
    for (size_t i = 0; i + 1 < s.tokens.size(); i++) {
        const token &t = s.tokens[i];
        if (begins_lambda(s, i))
            s.refuse(i, "MSL 3.0 has no lambda expressions");
        if (t.kind == token_kind::number && t.text.compare(0, 2, "0x") &&
            t.text.find_first_of(".eE") != std::string::npos &&
            (t.text.back() == 'l' || t.text.back() == 'L'))
            s.refuse(i, "MSL has no 'long double': " + t.text);
        if (t.kind != token_kind::identifier)
            continue;
        const auto refused = REFUSED.find(t.text);
        if (refused != REFUSED.end() && !(t.text == "delete" && i > 0 && s.is(i - 1, "=")))
            s.refuse(i, refused->second);
        if (t.text == "long" && s.is(i + 1, "long"))
            s.refuse(i, "MSL has no 'long long'; its 'long' has 64 bits");
        if (t.text == "std" && s.is(i + 1, "::"))
            s.refuse(i, "MSL has no C++ standard library: 'std::'");
        if (t.text == "static" && in_function(s, i))
            s.refuse(i, "MSL has no static variables in functions");
        if (t.text == "function_constant" && in_function(s, i) && s.scope_of[i] != 0)
            s.refuse(i, "a function constant in a function: declare it at program scope");
        if (t.text == "threadgroup")
            check_threadgroup_variable(s, i);
        if (s.is(i + 1, ":") && in_function(s, i) && i > 0 &&
            (s.is(i - 1, ";") || s.is(i - 1, "{") || s.is(i - 1, "}")) && t.text != "default")
            s.refuse(i, "MSL has no labels: '" + t.text + ":'");
    }
}

void check_declarations(source &s)
{
    for (const scope &r : s.scopes)
        if (r.kind == scope_kind::record)
            check_record(s, r);
    for (const declaration &d : s.declarations) {
        const bool record = s.scopes[(size_t)d.scope].kind == scope_kind::record;
        if (!s.is_variable(d) || (record && !mentions(s, d.start, d.stop, "static")))
            continue;
        if (mentions(s, d.start, d.stop, "threadgroup"))
            s.refuse(d.start,
                     "a threadgroup variable outside of a kernel: declare it in the kernel's body");
        else if (!mentions(s, d.start, d.stop, "constant"))
            s.refuse(d.start, record ? "a static member has to be `constant`"
                                     : "a variable at program scope has to be `constant`");
    }
}

} // namespace softmetal
