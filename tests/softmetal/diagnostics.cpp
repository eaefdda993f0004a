/* Reads what clang says of a text in which address spaces are told apart. */
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sstream>

#include "strict.h"

namespace softmetal {

namespace {

bool contains(const std::string &text, const char *part)
{
    return text.find(part) != std::string::npos;
}
bool begins(const std::string &text, const char *part) { return text.rfind(part, 0) == 0; }

/* An error with its notes. */
struct group {
    std::string error;
    std::vector<std::string> notes;
};

/* A copy of a struct from or to another address space: an error in C++, since a copy constructor's
 * reference is to one space; in MSL it is a load or a store. */
bool is_copy(const group &g)
{
    if (!contains(g.error, "no matching constructor for initialization of") &&
        !contains(g.error, "no viable overloaded '='") &&
        !contains(g.error, "no viable conversion from"))
        return false;
    const bool packed = contains(g.error, "softmetal_packed_three");
    for (const std::string &note : g.notes) {
        const bool own =
            contains(note, "implicit copy") || contains(note, "implicit move") || packed;
        if (own && contains(note, "address space"))
            return true;
    }
    return false;
}

/* Follows the places that clang's syntax tree tells relative to the one before. */
struct tree_place {
    std::string file;
    long line = 0;

    void read(const std::string &text)
    {
        const size_t end = std::min(text.find('\''), text.size());
        size_t i = 0;
        while (i < end) {
            const size_t start = text.find_first_not_of("<>, ", i);
            if (start >= end)
                return;
            i = std::min(text.find_first_of("<>, ", start), text.size());
            word(text.substr(start, i - start));
        }
    }

  private:
    /* line:12:3, or file.metal:12:3; col:3 is on the same line. */
    void word(const std::string &w)
    {
        const size_t last = w.rfind(':');
        if (last == std::string::npos || last == 0 || last + 1 == w.size() ||
            !isdigit((unsigned char)w[last + 1]))
            return;
        const size_t middle = w.rfind(':', last - 1);
        if (middle == std::string::npos || !isdigit((unsigned char)w[middle + 1]))
            return;
        if (w.substr(0, middle) != "line")
            file = w.substr(0, middle);
        line = atol(w.c_str() + middle + 1);
    }
};

} // namespace

std::vector<std::string> read_diagnostics(const std::string &output, const std::string &prelude)
{
    std::vector<group> groups;
    std::vector<std::string> found;
    std::istringstream lines(output);
    std::string line;
    tree_place place;

    while (std::getline(lines, line)) {
        const bool tree = begins(line, "|") || begins(line, "`") || begins(line, " ") ||
                          begins(line, "TranslationUnitDecl");
        if (tree) {
            place.read(line);
            if (contains(line, "<AddressSpaceConversion>") && contains(line, "CastExpr") &&
                !contains(line, "ImplicitCastExpr") && !begins(place.file, prelude.c_str()))
                found.push_back(place.file + ":" + std::to_string(place.line) +
                                ": error: a cast from one address space to another");
        } else if (contains(line, ": error: ") || contains(line, ": fatal error: ")) {
            groups.push_back({line, {}});
        } else if (contains(line, ": note: ") && !groups.empty()) {
            groups.back().notes.push_back(line);
        }
    }
    for (const group &g : groups) {
        if (is_copy(g) || contains(g.error, "errors emitted"))
            continue;
        std::string text = g.error;
        if (begins(g.error, prelude.c_str())) /* in a function of MSL: the place that called it is
                                                 the author's */
            for (const std::string &note : g.notes)
                if (contains(note, "in instantiation of") && !begins(note, prelude.c_str()))
                    text = note.substr(0, note.find(": note: ")) +
                           g.error.substr(g.error.find(": error: "));
        found.push_back(text);
    }
    return found;
}

} // namespace softmetal
