/* Settings of the software device: defaults, the environment, and the functions that change them. */
#include <sys/random.h>
#include <unistd.h>

#include "settings.h"

soft_settings soft_set;

static int is_env(const char *name, const char *value)
{
    const char *given = getenv(name);
    return given && !strcmp(given, value);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *given = getenv(name);
    return given && *given ? strtoull(given, NULL, 0) : otherwise;
}

static uint64_t fresh_seed(void)
{
    uint32_t seed = 1; /* short enough to be typed */
    if (getrandom(&seed, sizeof seed, 0) < 0) seed = (uint32_t)getpid();
    return seed;
}

__attribute__((constructor)) static void set_defaults(void)
{
    memset(&soft_set, 0, sizeof soft_set);
    soft_set.action = is_env("SOFTMETAL_FAULTS", "record")  ? SOFTMETAL_RECORD
                      : is_env("SOFTMETAL_FAULTS", "raise") ? SOFTMETAL_RAISE
                                                            : SOFTMETAL_ABORT;
    soft_set.present = soft_set.metal3 = soft_set.residency_sets = 1;
    soft_set.captures = soft_set.poison = 1;
    soft_set.stamps = 1;
    soft_set.apple_family = 8;
    soft_set.buffer_length = (uint64_t)9 << 30; /* as an M2 with 16 GiB */
    soft_set.working_set = (uint64_t)11 << 30;
    soft_set.memory = UINT64_MAX;
    soft_set.checked = is_env("SOFTMETAL_MODE", "checked");
    soft_set.workers = (int)env_number("SOFTMETAL_WORKERS", 0);
    soft_set.kernels = !is_env("SOFTMETAL_KERNELS", "off");
    soft_set.seed = env_number("SOFTMETAL_SEED", fresh_seed());
}

void softmetal_reset(void)
{
    const uint64_t seed = soft_set.seed;
    set_defaults();
    soft_set.seed = env_number("SOFTMETAL_SEED", seed);
    softmetal_clear_faults();
    softmetal_log(0);
    softmetal_clear_log();
}

int soft_is_planned(int *plan)
{
    if (*plan <= 0) return 0;
    return --*plan == 0;
}

void softmetal_on_fault(enum softmetal_action action) { soft_set.action = action; }
void softmetal_set_present(int present) { soft_set.present = present; }
void softmetal_set_apple_family(int family) { soft_set.apple_family = family; }
void softmetal_set_metal3(int supported) { soft_set.metal3 = supported; }
void softmetal_set_residency_sets(int supported) { soft_set.residency_sets = supported; }
void softmetal_set_sampling(int at_dispatches) { soft_set.samples_dispatches = at_dispatches; }
void softmetal_set_stamps(int written) { soft_set.stamps = written; }
void softmetal_set_capture(int enabled) { soft_set.captures = enabled; }
void softmetal_limit_buffer_length(uint64_t bytes) { soft_set.buffer_length = bytes; }
void softmetal_limit_working_set(uint64_t bytes) { soft_set.working_set = bytes; }
void softmetal_limit_memory(uint64_t bytes) { soft_set.memory = bytes; }
void softmetal_set_poison(int poisons) { soft_set.poison = poisons; }
void softmetal_set_checked(int checked) { soft_set.checked = checked; }
void softmetal_set_workers(int workers) { soft_set.workers = workers; }
void softmetal_set_kernels(int on) { soft_set.kernels = on; }
void softmetal_set_seed(uint64_t seed) { soft_set.seed = seed; }
uint64_t softmetal_seed(void) { return soft_set.seed; }
void softmetal_fail_allocation(int n) { soft_set.fail_allocation = n; }
void softmetal_fail_residency_set(int n) { soft_set.fail_residency_set = n; }
void softmetal_refuse_no_copy(int refuse) { soft_set.refuse_no_copy = refuse; }

void softmetal_fail_commands(int n, int code, int dispatches)
{
    soft_set.failure_code = code;
    soft_set.failure_dispatches = dispatches;
    soft_set.fail_commands = n;
}

void softmetal_fail_kernel(const char *name, int code)
{
    snprintf(soft_set.failing_kernel, sizeof soft_set.failing_kernel, "%s", name ? name : "");
    soft_set.kernel_failure_code = code;
}
