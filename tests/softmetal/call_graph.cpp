/* Recursion: MSL allows it to kernels since 2.4, this project's kernels do without. */
#include <cstdlib>
#include <map>
#include <set>

#include "module.h"

namespace softmetal {

namespace {

/* Functions on the path that is being followed, in depth-first order. */
struct search {
    const std::map<std::string, std::vector<std::string>> &calls;
    std::set<std::string> done, on_path, found;

    void visit(const std::string &name)
    {
        on_path.insert(name);
        const auto own = calls.find(name);
        if (own != calls.end())
            for (const std::string &next : own->second) {
                if (on_path.count(next))
                    found.insert(next);
                else if (!done.count(next))
                    visit(next);
            }
        on_path.erase(name);
        done.insert(name);
    }
};

/* The value of `key: ` in the line of text that begins at `at`. */
std::string field(const std::string &text, size_t at, const char *key)
{
    const size_t end = text.find('\n', at), i = text.find(std::string(key) + ": ", at);
    if (at == std::string::npos || i > end)
        return "";
    const size_t start = i + std::string(key).size() + 2;
    if (text[start] == '"')
        return text.substr(start + 1, text.find('"', start + 1) - start - 1);
    return text.substr(start, text.find_first_of(",)", start) - start);
}

} // namespace

/* file:line: error: 'name', from the debug information. */
std::string module::place_of(const std::string &function) const
{
    const entity &e = entities.at(function);
    const size_t mark = text.find("!dbg ", e.start), end = text.find('\n', e.start);
    if (mark > end)
        return function;
    const std::string node = text.substr(mark + 5, text.find_first_of(" \n", mark + 5) - mark - 5);
    const size_t program = text.find("\n" + node + " = ");
    if (program == std::string::npos)
        return function;
    const std::string file = field(text, program + 1, "file");
    return field(text, text.find("\n" + file + " = ") + 1, "filename") + ":" +
           field(text, program + 1, "line") + ": error: '" + field(text, program + 1, "name") + "'";
}

std::vector<std::string> module::recursion() const
{
    std::map<std::string, std::vector<std::string>> calls;
    for (const auto &[name, e] : entities)
        if (e.function)
            calls[name] = e.references;
    search s{calls, {}, {}, {}};
    for (const auto &[name, e] : entities)
        if (e.function && !s.done.count(name))
            s.visit(name);
    std::vector<std::string> errors;
    for (const std::string &name : s.found)
        errors.push_back(place_of(name) + " calls itself: recursion is not for these kernels");
    return errors;
}

} // namespace softmetal
