/* A preprocessed MSL text as its declarations and scopes; what the readers of it share. */
#ifndef SOFTMETAL_SOURCE_H
#define SOFTMETAL_SOURCE_H

#include <string>
#include <vector>

#include "lexer.h"

namespace softmetal {

enum class scope_kind { namespace_, record, enumeration, function, block, initializer };

struct scope {
    scope_kind kind;
    size_t head, open, close; /* tokens: where its statement begins, its braces */
    int parent;               /* of `scopes` */
    bool kernel = false;      /* a function that is one */
};

/* A statement of a namespace or record: it ends with ; or with the body of a function. */
struct declaration {
    size_t start, stop; /* tokens [start, stop) */
    int scope;          /* that it is in */
    int body;           /* scope of the function's body, or -1 */
    bool kernel;
};

struct attribute {
    std::string name, argument;
};

class source {
  public:
    explicit source(const std::string &text);

    const std::string &text;
    const std::vector<token> tokens;
    std::vector<scope> scopes; /* the first one is the whole text */
    std::vector<int> scope_of; /* innermost scope of each token */
    std::vector<declaration> declarations;
    std::vector<std::string> errors;

    bool is(size_t i, const char *s) const { return tokens[i].text == s; }
    bool is_word(size_t i) const { return tokens[i].kind == token_kind::identifier; }
    bool is_attribute(size_t i) const { return is(i, "[") && is(i + 1, "["); }
    std::string span(size_t first, size_t last) const; /* the text of tokens [first, last) */

    /* file:line: error: what, at a token */
    void refuse(size_t at, const std::string &what);

    /* [[a(x), b]] from token i into `list`; returns the token after it. */
    size_t attributes(size_t i, std::vector<attribute> &list) const;

    /* The function that a token is in, as an index of `scopes`, or -1. */
    int function_of(size_t i) const;

    /* Whether a declaration is one of variables, not of functions, types or names. */
    bool is_variable(const declaration &d) const;

  private:
    void read_scope(int self);
    void read_statement(int self, size_t &i, size_t close);
    scope_kind kind_of(size_t head, size_t open, scope_kind parent) const;
    bool says(size_t first, size_t last, const char *word) const;
};

} // namespace softmetal
#endif
