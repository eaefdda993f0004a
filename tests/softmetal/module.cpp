#include "module.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>

namespace softmetal {

namespace {

bool in_symbol(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '$' || c == '-';
}

/* The symbol that begins with the @ at `i`, without it. */
std::string symbol_at(const std::string &text, size_t i)
{
    size_t end = i + 1;
    if (text[end] == '"') {
        end = text.find('"', end + 1) + 1;
        return text.substr(i + 1, end - i - 1);
    }
    while (in_symbol(text[end]))
        end++;
    return text.substr(i + 1, end - i - 1);
}

std::vector<std::string> symbols_in(const std::string &text, size_t start, size_t end)
{
    std::set<std::string> found;
    for (size_t i = text.find('@', start); i < end; i = text.find('@', i + 1))
        found.insert(symbol_at(text, i));
    return {found.begin(), found.end()};
}

/* Called by code that the sanitizers put in. */
bool is_callback(const std::string &name)
{
    return name.compare(0, 7, "__asan_") == 0 || name.compare(0, 8, "__ubsan_") == 0;
}

const char *or_dash(const std::string &s) { return s.empty() ? "-" : s.c_str(); }
std::string undash(const std::string &s) { return s == "-" ? "" : s; }

} // namespace

std::string write_head(const signatures &known, bool checked)
{
    std::ostringstream out;
    out << "; softmetal " << checked << "\n";
    for (const constant_info &c : known.constants)
        out << "; constant " << c.name << "\n";
    for (const kernel_info &k : known.kernels) {
        out << "; kernel " << k.name << " " << k.line << " " << or_dash(k.file) << "\n";
        for (const parameter_info &p : k.parameters)
            out << "; parameter " << or_dash(p.name) << " " << p.source << " "
                << or_dash(p.condition) << " " << p.constant_space << " " << p.reference << "\n";
    }
    return out.str();
}

bool module::load(const std::string &library)
{
    text = library;
    std::istringstream lines(text);
    std::string line, mark, word;
    while (std::getline(lines, line) && line.compare(0, 2, "; ") == 0) {
        std::istringstream words(line);
        words >> mark >> word;
        if (word == "softmetal") {
            words >> checked;
        } else if (word == "constant") {
            constants.emplace_back();
            words >> constants.back().name;
        } else if (word == "kernel") {
            kernel_info k;
            words >> k.name >> k.line >> k.file;
            kernels.push_back(k);
        } else if (word == "parameter") {
            parameter_info p;
            words >> p.name >> p.source >> p.condition >> p.constant_space >> p.reference;
            p.name = undash(p.name), p.condition = undash(p.condition);
            kernels.back().parameters.push_back(p);
        }
    }
    if (text.compare(0, 12, "; softmetal ") != 0)
        return false;
    scan();
    return true;
}

void module::scan()
{
    size_t i = 0;
    while (i < text.size()) {
        size_t end = text.find('\n', i);
        end = end == std::string::npos ? text.size() : end + 1;
        const bool define = text.compare(i, 7, "define ") == 0,
                   declare = text.compare(i, 8, "declare ") == 0;
        if (define)
            end = text.find("\n}\n", i) + 3;
        if (define || declare || text[i] == '@') {
            const size_t at = text.find('@', i);
            const std::string name = symbol_at(text, at);
            entities[name] = {i, end, define, symbols_in(text, at + 1, end)};
        } else if (text[i] == '!' && isdigit((unsigned char)text[i + 1])) {
            const size_t number = (size_t)atol(text.c_str() + i + 1);
            if (metadata.size() <= number)
                metadata.resize(number + 1);
            metadata[number] = {i, end};
        } else if (text[i] != ';' && end > i + 1) {
            rest.emplace_back(i, end);
        }
        i = end;
    }
}

std::vector<long> module::numbers(const std::string &name) const
{
    std::vector<long> found;
    const auto e = entities.find(name);
    if (e == entities.end())
        return found;
    const size_t open = text.find("] [", e->second.start), end = text.find('\n', e->second.start);
    size_t i = text.find(" constant ", e->second.start);
    if (open < end)
        i = open;
    if (text.compare(i, 25, " constant zeroinitializer") == 0)
        return {0};
    for (i = text.find("i64 ", i); i < end; i = text.find("i64 ", i + 1))
        found.push_back(atol(text.c_str() + i + 4));
    return found;
}

std::string module::type_of(const std::string &symbol) const
{
    const auto e = entities.find(symbol);
    if (e == entities.end())
        return "";
    static const std::string mark = "external constant ";
    size_t i = text.find(mark, e->second.start);
    if (i >= e->second.end)
        i = text.find("external hidden constant ", e->second.start) + strlen("hidden ");
    if (i >= e->second.end)
        return "";
    i += mark.size();
    return text.substr(i, text.find(',', i) - i);
}

std::set<std::string> module::reachable(std::vector<std::string> roots) const
{
    std::set<std::string> found;
    while (!roots.empty()) {
        const std::string name = roots.back();
        roots.pop_back();
        const auto e = entities.find(name);
        if (e == entities.end() || !found.insert(name).second)
            continue;
        roots.insert(roots.end(), e->second.references.begin(), e->second.references.end());
    }
    return found;
}

bool module::uses(size_t kernel, const std::string &symbol) const
{
    return reachable({"softmetal_entry_" + std::to_string(kernel)}).count(symbol) > 0;
}

/* Adds the metadata that the text refers to: parsing all of it would take longer than the kernel
 * does. */
void module::keep_metadata(std::string &out) const
{
    std::vector<bool> kept(metadata.size());
    for (size_t i = out.find('!'); i != std::string::npos; i = out.find('!', i + 1)) {
        if (!isdigit((unsigned char)out[i + 1]))
            continue;
        const size_t number = (size_t)atol(out.c_str() + i + 1);
        if (number >= kept.size() || kept[number])
            continue;
        kept[number] = true; /* what is added here is looked through in its turn */
        out.append(text, metadata[number].first, metadata[number].second - metadata[number].first);
    }
}

std::string module::specialise(size_t kernel,
                               const std::map<std::string, std::string> &values) const
{
    const std::string entry = "softmetal_entry_" + std::to_string(kernel);
    const std::set<std::string> exported = {entry, "softmetal_start",
                                            "softmetal_present_" + std::to_string(kernel)};
    std::vector<std::string> roots(exported.begin(), exported.end());

    roots.push_back("llvm.global_ctors");
    for (const auto &[name, e] :
         entities) /* calls of these are put in later, by the sanitizer's pass */
        if (is_callback(name))
            roots.push_back(name);
    const std::set<std::string> needed = reachable(roots);
    std::vector<std::string> kept(needed.begin(), needed.end()); /* numbered globals must ascend */
    std::sort(kept.begin(), kept.end(), [this](const std::string &a, const std::string &b) {
        return entities.at(a).start < entities.at(b).start;
    });
    std::string out;
    for (const auto &[start, end] : rest)
        out.append(text, start, end - start);
    std::map<size_t, std::string>
        ordered; /* by place: the numbers of nameless globals have to grow */
    for (const std::string &name : kept)
        ordered[entities.at(name).start] = name;
    for (const auto &[start, name] : ordered) {
        const entity &e = entities.at(name);
        const auto value = values.find(name);
        if (value != values.end()) {
            out += "@" + name + " = internal constant " + value->second + "\n";
            continue;
        }
        std::string part = text.substr(e.start, e.end - e.start);
        if (e.function && !exported.count(name) && !is_callback(name)) {
            for (const char *linkage : {"define weak_odr ", "define linkonce_odr ",
                                        "define dso_local ", "define hidden "})
                if (part.compare(0, strlen(linkage), linkage) == 0 &&
                    part.find(" comdat ") > part.find('\n')) {
                    part.replace(0, strlen(linkage), "define internal ");
                    for (const char *extra : {"dso_local ", "hidden "})
                        if (part.compare(16, strlen(extra), extra) == 0)
                            part.erase(16, strlen(extra));
                    break;
                }
        }
        out += part;
    }
    keep_metadata(out);
    return out;
}

} // namespace softmetal
