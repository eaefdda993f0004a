#include "source.h"

namespace softmetal {

source::source(const std::string &text)
    : text(text), tokens(tokenize(text)), scope_of(tokens.size(), 0)
{
    scopes.push_back({scope_kind::namespace_, 0, 0, tokens.size() - 1, -1});
    read_scope(0);
}

std::string source::span(size_t first, size_t last) const
{
    return last > first
               ? text.substr(tokens[first].start, tokens[last - 1].end - tokens[first].start)
               : "";
}

void source::refuse(size_t at, const std::string &what)
{
    errors.push_back(tokens[at].file + ":" + std::to_string(tokens[at].line) + ": error: " + what);
}

size_t source::attributes(size_t i, std::vector<attribute> &list) const
{
    const size_t end = skip_brackets(tokens, i);
    for (size_t k = i + 2; k + 2 < end; k++) {
        if (!is_word(k))
            continue;
        attribute a{tokens[k].text, ""};
        if (is(k + 1, "(")) {
            const size_t close = skip_brackets(tokens, k + 1);
            a.argument = span(k + 2, close - 1);
            k = close - 1;
        }
        list.push_back(a);
    }
    return end;
}

int source::function_of(size_t i) const
{
    int s = scope_of[i];
    while (s >= 0 && scopes[(size_t)s].kind != scope_kind::function)
        s = scopes[(size_t)s].parent;
    return s;
}

/* The tokens of [first, last) outside of brackets. */
bool source::says(size_t first, size_t last, const char *word) const
{
    for (size_t i = first; i < last; i++) {
        if (is(i, word))
            return true;
        if (is(i, "(") || is(i, "[") || is(i, "{"))
            i = skip_brackets(tokens, i) - 1;
    }
    return false;
}

scope_kind source::kind_of(size_t head, size_t open, scope_kind parent) const
{
    if (is(head, "template") && is(head + 1, "<"))
        head = skip_brackets(tokens, head + 1);
    const bool parens = says(head, open, "(");
    if (says(head, open, "enum"))
        return scope_kind::enumeration;
    if (!parens &&
        (says(head, open, "struct") || says(head, open, "class") || says(head, open, "union")))
        return scope_kind::record;
    if (parent == scope_kind::function || parent == scope_kind::block)
        return scope_kind::block;
    if (says(head, open, "namespace") || (is(head, "extern") && head + 2 == open))
        return scope_kind::namespace_;
    if (parens && !says(head, open, "="))
        return scope_kind::function;
    return scope_kind::initializer;
}

/* One statement from token i; leaves i after it. */
void source::read_statement(int self, size_t &i, size_t close)
{
    const size_t start = i;
    const scope_kind own = scopes[(size_t)self].kind;
    int body = -1;
    bool kernel = false;

    for (; i < close && !is(i, ";"); i++) {
        scope_of[i] = self;
        if (is(i, "kernel") || (is_attribute(i) && is(i + 2, "kernel")))
            kernel = true;
        if (is(i, "(") || is(i, "[")) {
            const size_t end = skip_brackets(tokens, i);
            for (; i < end; i++)
                scope_of[i] = self;
            i--;
        } else if (is(i, "{")) {
            const scope_kind kind = kind_of(start, i, own);
            const size_t end = skip_brackets(tokens, i);
            const int inner = (int)scopes.size();
            scopes.push_back(
                {kind, start, i, end - 1, self, kernel && kind == scope_kind::function});
            read_scope(inner);
            i = end - 1;
            scope_of[i] = self;
            if (kind == scope_kind::function)
                body = inner;
            if (kind == scope_kind::function || kind == scope_kind::block ||
                kind == scope_kind::namespace_) {
                if (is(end, ",") || is(end, "{"))
                    continue; /* an initializer of a constructor */
                break;
            }
        }
    }
    if (i < close)
        scope_of[i++] = self;
    if (own == scope_kind::namespace_ || own == scope_kind::record)
        declarations.push_back({start, i, self, body, kernel});
}

void source::read_scope(int self)
{
    const size_t open = scopes[(size_t)self].open, close = scopes[(size_t)self].close;
    if (scopes[(size_t)self].kind == scope_kind::initializer ||
        scopes[(size_t)self].kind == scope_kind::enumeration) {
        for (size_t i = open; i < close; i++)
            scope_of[i] = self;
        return;
    }
    for (size_t i = self ? open + 1 : 0; i < close;) {
        scope_of[i] = self;
        if (tokens[i].kind == token_kind::directive || is(i, ";") || is(i, "}"))
            i++;
        else
            read_statement(self, i, close);
    }
}

bool source::is_variable(const declaration &d) const
{
    size_t i = d.start, end = d.stop;
    while (is_attribute(i))
        i = skip_brackets(tokens, i);
    for (const char *other :
         {"using", "typedef", "namespace", "static_assert", "template", "friend", "public",
          "private", "protected", "struct", "class", "union", "enum", "extern", "kernel"})
        if (is(i, other))
            return false;
    if (d.body >= 0 || end < d.start + 2)
        return false;
    for (; i < end && !is(i, "=") && !is(i, "{"); i++) {
        if (is(i, "operator"))
            return false;
        if (is_attribute(i))
            i = skip_brackets(tokens, i) - 1;
        else if (is(i, "<"))
            i = skip_brackets(tokens, i) - 1;
        else if (is(i, "("))
            return false;
    }
    return true;
}

} // namespace softmetal
