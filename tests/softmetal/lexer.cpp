#include "lexer.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <map>

namespace softmetal {

namespace {

bool starts_word(char c) { return isalpha((unsigned char)c) || c == '_'; }
bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* # 12 "matvec.metal" 2: the next line is line 12 of that file. */
bool read_marker(const std::string &text, size_t at, std::string &file, int &line)
{
    size_t i = at + 1;
    while (text[i] == ' ')
        i++;
    if (!isdigit((unsigned char)text[i]))
        return false;
    line = atoi(text.c_str() + i) - 1;
    const size_t open = text.find('"', i), stop = text.find('\n', i);
    if (open < stop) {
        const size_t close = text.find('"', open + 1);
        file = text.substr(open + 1, close - open - 1);
    }
    return true;
}

size_t end_of_number(const std::string &text, size_t i)
{
    while (in_word(text[i]) || text[i] == '.' ||
           ((text[i] == '+' || text[i] == '-') && strchr("eEpP", text[i - 1])))
        i++;
    return i;
}

} // namespace

std::vector<token> tokenize(const std::string &text)
{
    std::vector<token> tokens;
    std::string file = "source";
    int line = 1;
    size_t i = 0;
    bool fresh = true; /* nothing but blanks on this line so far */

    const auto add = [&](token_kind kind, size_t end) {
        tokens.push_back({kind, i, end, text.substr(i, end - i), file, line});
        i = end;
        fresh = false;
    };
    while (i < text.size()) {
        const char c = text[i];
        if (c == '\n') {
            line++, i++;
            fresh = true;
        } else if (isspace((unsigned char)c)) {
            i++;
        } else if (c == '#' && fresh) {
            const size_t end = std::min(text.find('\n', i), text.size());
            if (read_marker(text, i, file, line))
                i = end;
            else
                add(token_kind::directive, end);
        } else if (starts_word(c)) {
            size_t end = i;
            while (in_word(text[end]))
                end++;
            add(token_kind::identifier, end);
        } else if (isdigit((unsigned char)c) || (c == '.' && isdigit((unsigned char)text[i + 1]))) {
            add(token_kind::number, end_of_number(text, i + 1));
        } else if (c == '"' || c == '\'') {
            size_t end = i + 1;
            while (end < text.size() && text[end] != c && text[end] != '\n')
                end += text[end] == '\\' ? 2 : 1;
            add(token_kind::literal, std::min(end + 1, text.size()));
        } else {
            add(token_kind::punctuation, c == ':' && text[i + 1] == ':' ? i + 2 : i + 1);
        }
    }
    tokens.push_back({token_kind::end, text.size(), text.size(), "", file, line});
    return tokens;
}

size_t skip_brackets(const std::vector<token> &tokens, size_t open)
{
    const bool angles = tokens[open].text == "<";
    int depth = 0;

    for (size_t i = open; i + 1 < tokens.size(); i++) {
        const std::string &t = tokens[i].text;
        if (tokens[i].kind != token_kind::punctuation)
            continue;
        if (t == "(" || t == "[" || t == "{" || (angles && t == "<")) {
            if (angles && t != "<") {
                i = skip_brackets(tokens, i) - 1;
                continue;
            }
            depth++;
        } else if (t == ")" || t == "]" || t == "}" || (angles && t == ">")) {
            if (--depth == 0)
                return i + 1;
        }
    }
    return tokens.size() - 1;
}

std::string apply_edits(const std::string &text, const std::vector<edit> &edits)
{
    std::multimap<size_t, const edit *>
        in_order; /* edits of one place stay in the order they were made in */
    for (const edit &e : edits)
        in_order.emplace(e.start, &e);
    std::string result;
    size_t at = 0;
    for (const auto &[start, chosen] : in_order) {
        const edit &e = *chosen;
        if (e.start < at)
            continue; /* inside a stretch that is gone */
        result.append(text, at, e.start - at);
        result += e.replacement;
        at = e.end;
    }
    return result.append(text, at, std::string::npos);
}

edit blank(const std::string &text, size_t start, size_t end)
{
    return {start, end,
            std::string((size_t)std::count(text.begin() + start, text.begin() + end, '\n'), '\n')};
}

} // namespace softmetal
