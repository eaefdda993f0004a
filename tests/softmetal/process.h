/* Compiler runs and the cache of what they made. */
#ifndef SOFTMETAL_PROCESS_H
#define SOFTMETAL_PROCESS_H

#include <string>
#include <vector>

namespace softmetal {

/* Runs a program; its input is the file `input` ("": nothing), its output and error output go to
 * `output`. Returns its exit status, or -1. */
int run_program(const std::vector<std::string> &arguments, std::string &output,
                const std::string &input = "");

bool read_file(const std::string &path, std::string &content);
/* Writes beside the target and renames, so that readers see the whole file or none. */
bool write_file(const std::string &path, const std::string &content);

/* 128 bits in hex. */
std::string digest(const std::string &content);

/* Where compiled texts are kept: $SOFTMETAL_CACHE, or softmetal in the user's cache directory. */
const std::string &cache_directory();
/* Removes what nobody used for thirty days. */
void prune_cache();
/* A name in the cache directory that no other process uses. */
std::string fresh_name(const std::string &suffix);

/* The compiler: $SOFTMETAL_CLANG, or the oldest clang++ on the path that is new enough; "" if none.
 */
const std::string &compiler();
/* What a result depends on besides its text: compiler, processor, prelude, and this program's own
 * sources. */
const std::string &environment();
/* Where prelude.h lies: beside the source of this program, which was compiled by its absolute path.
 */
const std::string &prelude_directory();
/* What stands for it in the line numbers of compiled kernels. */
constexpr const char *PRELUDE_IN_LINES = "/softmetal-prelude";

} // namespace softmetal
#endif
