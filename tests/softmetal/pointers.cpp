/* "pointer type must have explicit address space qualifier": clang's C++ knows no such rule, so it
 * is checked on the words. A * or & after a type makes a pointer or reference; after anything else
 * it is an operator. */
#include <set>

#include "strict.h"

namespace softmetal {

namespace {

const std::set<std::string> SPACES = {"device", "constant", "threadgroup", "thread"};
const std::set<std::string> SPECIFIERS = {"const",  "volatile", "constexpr", "static",
                                          "inline", "typename", "unsigned",  "signed",
                                          "struct", "extern",   "mutable"};

/* Names of types: MSL's own, and those that the text declares. */
std::set<std::string> type_names(const source &s)
{
    std::set<std::string> names = {"void",
                                   "bool",
                                   "char",
                                   "uchar",
                                   "short",
                                   "ushort",
                                   "int",
                                   "uint",
                                   "long",
                                   "ulong",
                                   "float",
                                   "half",
                                   "size_t",
                                   "ptrdiff_t",
                                   "auto",
                                   "unsigned",
                                   "signed",
                                   "atomic_int",
                                   "atomic_uint",
                                   "atomic_float",
                                   "atomic_bool",
                                   "atomic_ulong",
                                   "simdgroup_float8x8",
                                   "simdgroup_half8x8",
                                   "int8_t",
                                   "uint8_t",
                                   "int16_t",
                                   "uint16_t",
                                   "int32_t",
                                   "uint32_t",
                                   "int64_t",
                                   "uint64_t",
                                   "uintptr_t",
                                   "intptr_t"};
    for (const char *element : {"bool", "char", "uchar", "short", "ushort", "int", "uint", "long",
                                "ulong", "float", "half"})
        for (const char *width : {"2", "3", "4"})
            names.insert({std::string(element) + width, std::string("packed_") + element + width});
    for (size_t i = 0; i + 2 < s.tokens.size(); i++) {
        if ((s.is(i, "struct") || s.is(i, "class") || s.is(i, "union") || s.is(i, "enum") ||
             s.is(i, "typename")) &&
            s.is_word(i + 1) && !s.is(i + 2, "::"))
            names.insert(s.tokens[i + 1].text);
        if (s.is(i, "using") && s.is(i + 2, "="))
            names.insert(s.tokens[i + 1].text);
        if (s.is(i, "typedef")) {
            size_t end = i;
            while (!s.is(end, ";") && end + 1 < s.tokens.size())
                end = s.is(end, "{") ? skip_brackets(s.tokens, end) : end + 1;
            if (s.is_word(end - 1))
                names.insert(s.tokens[end - 1].text);
        }
    }
    return names;
}

/* The token before the template arguments that end with the > at i, or 0. */
size_t before_arguments(const source &s, size_t i)
{
    int depth = 0;
    for (;; i--) {
        if (s.is(i, ">"))
            depth++;
        else if (s.is(i, "<") && --depth == 0)
            return i ? i - 1 : 0;
        else if (i == 0 || s.is(i, ";") || s.is(i, "{"))
            return 0;
    }
}

class checker {
  public:
    explicit checker(source &s) : s(s), types(type_names(s)) {}

    void check()
    {
        for (size_t i = 1; i + 1 < s.tokens.size(); i++) {
            if (!s.is(i, "*") && !s.is(i, "&"))
                continue;
            bool named = false;
            if (!follows_type(i, named) || named)
                continue;
            s.refuse(i, std::string(s.is(i, "*") ? "a pointer" : "a reference") +
                            " names its address space: device, constant, threadgroup or thread");
        }
    }

  private:
    source &s;
    const std::set<std::string> types;

    /* Looks back from the * or & at i over one declarator's or type's words. named: an address
     * space is there. */
    bool follows_type(size_t i, bool &named) const
    {
        size_t k = i - 1;
        while (k > 0 && (s.is(k, "const") || s.is(k, "volatile") || SPACES.count(s.tokens[k].text)))
            named |= SPACES.count(s.tokens[k--].text) > 0;
        if (s.is(k, "*")) { /* a pointer to a pointer, if that is one */
            bool other = false;
            return follows_type(k, other);
        }
        if (s.is(k, "&"))
            return false; /* && is an operator, or a reference that the first & stands for */
        if (s.is(k, ">")) {
            k = before_arguments(s, k);
            if (!s.is_word(k) ||
                (!types.count(s.tokens[k].text) && s.tokens[k].text != "vec" &&
                 s.tokens[k].text != "simdgroup_matrix" && s.tokens[k].text != "atomic"))
                return false;
        } else if (!s.is_word(k) || !types.count(s.tokens[k].text)) {
            if (!s.is_word(k) || k < 3 || !s.is(k - 1, "::") || !begins_with_typename(k))
                return false;
        }
        for (k--; k > 0; k--) { /* specifiers before the type's name */
            const std::string &t = s.tokens[k].text;
            if (SPACES.count(t))
                named = true;
            else if (s.is(k, ">"))
                k = before_arguments(s, k) + 1;
            else if (!SPECIFIERS.count(t) && t != "::" && !(s.is_word(k) && s.is(k + 1, "::")) &&
                     !types.count(t))
                break;
        }
        return true;
    }

    bool begins_with_typename(size_t k) const
    {
        while (k > 1 && (s.is(k - 1, "::") || s.is(k, "::") || s.is(k - 1, ">") || s.is(k, ">")))
            k = s.is(k - 1, ">") ? before_arguments(s, k - 1) : k - 1;
        return k > 0 && s.is(k - 1, "typename");
    }
};

} // namespace

void check_pointers(source &s) { checker(s).check(); }

} // namespace softmetal
