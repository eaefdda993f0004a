/* What Apple's compiler refuses and clang would take. */
#ifndef SOFTMETAL_STRICT_H
#define SOFTMETAL_STRICT_H

#include <string>
#include <vector>

#include "source.h"

namespace softmetal {

/* Rules on words and declarations: MSL specification, 1.5.4 and chapter 4. */
void check_words(source &s);
void check_declarations(source &s);
/* Every pointer and reference names its address space. */
void check_pointers(source &s);

/* The strict compiler run's diagnostics, without those on copies of structs between address spaces
 * (which MSL allows and clang does not), and with casts between address spaces, which clang shows
 * in its syntax tree alone. One line each. prelude: the directory whose files are not the kernels'
 * author's. */
std::vector<std::string> read_diagnostics(const std::string &output, const std::string &prelude);

} // namespace softmetal
#endif
