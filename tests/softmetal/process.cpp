#include "process.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

extern char **environ;

namespace softmetal {

namespace {

enum { OLDEST_COMPILER = 19 }; /* that has the builtins which the prelude uses */

void make_directories(const std::string &path)
{
    for (size_t i = 1; i <= path.size(); i++)
        if (i == path.size() || path[i] == '/')
            mkdir(path.substr(0, i).c_str(), 0700);
}

std::string find_directory()
{
    const char *own = getenv("SOFTMETAL_CACHE"), *caches = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    std::string path;
    if (own && *own)
        path = own;
    else if (caches && *caches)
        path = std::string(caches) + "/softmetal";
    else
        path = std::string(home && *home ? home : "/tmp") + "/.cache/softmetal";
    make_directories(path);
    return path;
}

std::string find_program(const std::string &name)
{
    const char *path = getenv("PATH");
    const std::string directories = path ? path : "/usr/bin:/bin";
    for (size_t i = 0; i <= directories.size();) {
        const size_t end = std::min(directories.find(':', i), directories.size());
        const std::string file = directories.substr(i, end - i) + "/" + name;
        if (access(file.c_str(), X_OK) == 0)
            return file;
        i = end + 1;
    }
    return "";
}

std::string find_compiler()
{
    const char *own = getenv("SOFTMETAL_CLANG");
    if (own && *own)
        return own;
    for (int version = OLDEST_COMPILER; version < OLDEST_COMPILER + 20; version++) {
        const std::string file = find_program("clang++-" + std::to_string(version));
        if (!file.empty())
            return file;
    }
    const std::string file = find_program("clang++");
    std::string version;
    if (!file.empty() && run_program({file, "-dumpversion"}, version) == 0 &&
        atoi(version.c_str()) >= OLDEST_COMPILER)
        return file;
    return "";
}

/* Whether what is compiled may depend on a file of this name: C++ text, or a header without a
 * suffix. */
bool matters(const std::string &name)
{
    const size_t dot = name.rfind('.');
    const std::string suffix = dot == std::string::npos ? "" : name.substr(dot);
    return name[0] != '.' && (suffix.empty() || suffix == ".cpp" || suffix == ".h" ||
                              suffix == ".def" || suffix == ".list");
}

std::string directory_content(const std::string &path)
{
    std::vector<std::string> names;
    if (DIR *d = opendir(path.c_str())) {
        while (const dirent *entry = readdir(d))
            if (matters(entry->d_name))
                names.push_back(entry->d_name);
        closedir(d);
    }
    std::sort(names.begin(), names.end());
    std::string all;
    for (const std::string &name : names) {
        std::string content;
        if (read_file(path + "/" + name, content))
            all += name + "\n" + content;
    }
    return all;
}

} // namespace

int run_program(const std::vector<std::string> &arguments, std::string &output,
                const std::string &input)
{
    std::vector<char *> argv;
    for (const std::string &a : arguments)
        argv.push_back(const_cast<char *>(a.c_str()));
    argv.push_back(nullptr);

    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, input.empty() ? "/dev/null" : input.c_str(),
                                     O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    pid_t pid;
    const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (!failed) {
        char part[65536];
        ssize_t n;
        while ((n = read(ends[0], part, sizeof part)) > 0 || (n < 0 && errno == EINTR))
            if (n > 0)
                output.append(part, (size_t)n);
    }
    close(ends[0]);
    if (failed) {
        output = "cannot start " + arguments[0];
        return -1;
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool read_file(const std::string &path, std::string &content)
{
    FILE *f = fopen(path.c_str(), "rb");
    if (!f)
        return false;
    char part[65536];
    size_t n;
    content.clear();
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        content.append(part, n);
    const bool good = !ferror(f);
    fclose(f);
    return good;
}

void prune_cache()
{
    const time_t oldest = time(nullptr) - 30 * 24 * 3600;
    DIR *d = opendir(cache_directory().c_str());
    while (const dirent *entry = d ? readdir(d) : nullptr) {
        const std::string path = cache_directory() + "/" + entry->d_name;
        struct stat s;
        if (stat(path.c_str(), &s) == 0 && S_ISREG(s.st_mode) && s.st_atime < oldest &&
            s.st_mtime < oldest)
            unlink(path.c_str());
    }
    if (d)
        closedir(d);
}

bool write_file(const std::string &path, const std::string &content)
{
    const std::string temporary = path + "." + std::to_string(getpid()) + ".part";
    FILE *f = fopen(temporary.c_str(), "wb");
    if (!f)
        return false;
    const bool written = fwrite(content.data(), 1, content.size(), f) == content.size();
    if (fclose(f) != 0 || !written || rename(temporary.c_str(), path.c_str()) != 0) {
        unlink(temporary.c_str());
        return false;
    }
    return true;
}

/* Two multiplicative hashes side by side; nobody attacks this cache. */
std::string digest(const std::string &content)
{
    unsigned long a = 0xcbf29ce484222325, b = 0x9e3779b97f4a7c15;
    for (const char c : content) {
        a = (a ^ (unsigned char)c) * 0x100000001b3;
        b = (b + (unsigned char)c) * 0xff51afd7ed558ccd;
        b ^= b >> 29;
    }
    char hex[33];
    snprintf(hex, sizeof hex, "%016lx%016lx", a, b);
    return hex;
}

const std::string &cache_directory()
{
    static const std::string path = find_directory();
    return path;
}

std::string fresh_name(const std::string &suffix)
{
    static std::atomic<int> count;
    return cache_directory() + "/" + std::to_string(getpid()) + "-" + std::to_string(count++) +
           suffix;
}

const std::string &compiler()
{
    static const std::string path = find_compiler();
    return path;
}

const std::string &prelude_directory()
{
    static const std::string own = __FILE__, path = own.substr(0, own.rfind('/') + 1) + "prelude";
    return path;
}

const std::string &environment()
{
    static const std::string all = [] {
        const std::string own = prelude_directory().substr(0, prelude_directory().rfind('/'));
        std::string cpu, text;
        for (const char *part : {"", "/prelude", "/prelude/include"})
            text += directory_content(own + part);
        struct stat s = {};
        stat(compiler().c_str(), &s);
        text += compiler() + " " + std::to_string(s.st_size) + " " + std::to_string(s.st_mtime);
        if (read_file("/proc/cpuinfo", cpu)) {
            const size_t flags = std::min(cpu.find("flags"), cpu.find("Features"));
            if (flags != std::string::npos)
                text += cpu.substr(flags, cpu.find('\n', flags) - flags);
        }
        return digest(text);
    }();
    return all;
}

} // namespace softmetal
