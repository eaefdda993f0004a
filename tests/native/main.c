/* Runs the native tests: the kernels, the thread pool and replay, without Python. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"
#include "check.h"
#include "cpu/cpu.h"

static void give_up(int number)
{
    static const char message[] = "a native test hangs\n";
    (void)number;
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(3);
    _exit(3);
}

/* The address sanitizer asks for this name: a test asks for more memory than there is, and malloc is to
 * say so as it does elsewhere. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"threads", test_threads}, {"matmul", test_matmul}, {"slices", test_slices},
    {"attention", test_attention}, {"layer", test_layer}, {"replay", test_replay},
    {"checks", test_checks}, {"limits", test_limits}, {"soak", test_many_products},
};

/* Runs the tests that the arguments name, or all but the last one, which takes minutes. */
int main(int count, char **names)
{
    enum { SECONDS = 500 };
    signal(SIGALRM, give_up);
    alarm(SECONDS);
    printf("instruction sets:");
    for (int i = 0; i < cpu_isa_count(); i++)
        if (cpu_isa_available(i)) printf(" %s", cpu_isa_name(i));
    printf("\n");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        int wanted = count == 1 && tests[i].run != test_many_products;
        for (int j = 1; j < count; j++) wanted |= !strcmp(names[j], tests[i].name);
        if (wanted) tests[i].run();
    }
    return checks_report();
}
