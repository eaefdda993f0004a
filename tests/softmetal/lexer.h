/* Tokens of preprocessed MSL, and edits to its text that keep every line where it was. */
#ifndef SOFTMETAL_LEXER_H
#define SOFTMETAL_LEXER_H

#include <string>
#include <vector>

namespace softmetal {

enum class token_kind { identifier, number, literal, punctuation, directive, end };

struct token {
    token_kind kind;
    size_t start, end; /* in the text */
    std::string text;
    std::string file; /* of the line, as the preprocessor's markers say */
    int line;
};

/* Punctuation is taken one character at a time, but for `::`. The last token is of kind end. */
std::vector<token> tokenize(const std::string &text);

/* The token after the bracket that closes the one at `open`: ( [ { or <. */
size_t skip_brackets(const std::vector<token> &tokens, size_t open);

struct edit {
    size_t start, end;
    std::string replacement;
};
/* Applies edits that do not overlap. */
std::string apply_edits(const std::string &text, const std::vector<edit> &edits);

/* A replacement of text[start, end) by nothing but its line ends. */
edit blank(const std::string &text, size_t start, size_t end);

} // namespace softmetal
#endif
