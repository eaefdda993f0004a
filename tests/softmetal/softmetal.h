/* What a test can ask of the software Metal device beside Metal itself: limits and failures to
 * plant, what was misused, what happened, and what is still alive. Plain C, also for ctypes.
 *
 * Settings hold for the process. softmetal_reset brings back the defaults, which these variables
 * of the environment change: SOFTMETAL_FAULTS (abort, raise or record), SOFTMETAL_MODE (fast or
 * checked), SOFTMETAL_WORKERS, SOFTMETAL_SEED, SOFTMETAL_KERNELS (on or off).
 */
#ifndef SOFTMETAL_H
#define SOFTMETAL_H

#include <stddef.h>
#include <stdint.h>

#define SOFTMETAL_API __attribute__((visibility("default")))

/* Misuse of the API. ABORT, the default, prints the fault and ends the process, as Apple's
 * validation does. RAISE throws an NSException out of the call. RECORD leaves the call without
 * effect, and the command buffer it concerns fails when it is committed. All three keep the fault
 * in the list. Faults that the GPU meets (out of bounds, races, ...) fail the command buffer and
 * go to the list, whatever is set here. */
enum softmetal_action { SOFTMETAL_ABORT, SOFTMETAL_RAISE, SOFTMETAL_RECORD };
SOFTMETAL_API void softmetal_on_fault(enum softmetal_action action);
SOFTMETAL_API int softmetal_fault_count(void);
/* Copies fault `index`, oldest first, into text; returns its length, 0 where there is none. */
SOFTMETAL_API size_t softmetal_fault(int index, char *text, size_t room);
SOFTMETAL_API void softmetal_clear_faults(void);

SOFTMETAL_API void softmetal_reset(void); /* settings, faults and log, as in a fresh process */

/* The machine. */
SOFTMETAL_API void softmetal_set_present(int present);        /* 0: there is no GPU */
SOFTMETAL_API void softmetal_set_apple_family(int family);    /* default 8; 0: no GPU of Apple's */
SOFTMETAL_API void softmetal_set_metal3(int supported);       /* 0: macOS 12 */
SOFTMETAL_API void softmetal_set_residency_sets(int supported);   /* 0: before macOS 15 */
SOFTMETAL_API void softmetal_set_sampling(int at_dispatches); /* 1: unlike Apple's own GPUs */
SOFTMETAL_API void softmetal_set_stamps(int written); /* 0: they stay 0, as on some Macs of macOS 26 */
SOFTMETAL_API void softmetal_set_capture(int enabled); /* 0: MTL_CAPTURE_ENABLED is not set */
SOFTMETAL_API void softmetal_limit_buffer_length(uint64_t bytes);
SOFTMETAL_API void softmetal_limit_working_set(uint64_t bytes); /* what is recommended, not a limit */
SOFTMETAL_API void softmetal_limit_memory(uint64_t bytes); /* of all buffers; beyond it there is none */

/* Metal promises nothing about the contents of a new buffer: every byte is 0xff (a NaN in all
 * formats, -1, an address of nothing), or 0 after softmetal_set_poison(0). */
SOFTMETAL_API void softmetal_set_poison(int poisons);

/* How kernels run. checked: msl_mode of libraries loaded from now on. workers: 0 is one a core.
 * Kernels off: everything but the kernels happens, and nothing is compiled. */
SOFTMETAL_API void softmetal_set_checked(int checked);
SOFTMETAL_API void softmetal_set_workers(int workers);
SOFTMETAL_API void softmetal_set_kernels(int on);
/* Of the order in which dispatches without a barrier between them run. The default is a fresh one
 * in every process; faults name it. */
SOFTMETAL_API void softmetal_set_seed(uint64_t seed);
SOFTMETAL_API uint64_t softmetal_seed(void);

/* Failures. n = 1 is the next; 0 takes a plan back. */
SOFTMETAL_API void softmetal_fail_allocation(int n);
SOFTMETAL_API void softmetal_fail_residency_set(int n);
SOFTMETAL_API void softmetal_refuse_no_copy(int refuse);
/* The n-th command buffer committed from now fails with this MTLCommandBufferError when `dispatches`
 * of its dispatches have run. */
SOFTMETAL_API void softmetal_fail_commands(int n, int code, int dispatches);
/* Every command buffer fails where it comes to a dispatch of this kernel; NULL takes it back. */
SOFTMETAL_API void softmetal_fail_kernel(const char *name, int code);

/* Objects that are alive, by class (SoftBuffer, MTLCompileOptions, ...), or all of them for NULL. */
SOFTMETAL_API int softmetal_live(const char *class_name);
/* "SoftBuffer 3\nSoftDevice 1\n": length, as softmetal_fault. */
SOFTMETAL_API size_t softmetal_live_classes(char *text, size_t room);

/* The log: a line an event, oldest first, while it is on. Lines begin with
 *   buffer, buffer_freed, library, function, pipeline, queue, commands, encoder, dispatch, barrier,
 *   copy, fill, end, commit, wait, scheduled, completed, failed, use, residency, capture, samples
 * and softmetal_log_text copies them all (text may be NULL to learn the length). */
SOFTMETAL_API void softmetal_log(int on);
SOFTMETAL_API void softmetal_clear_log(void);
SOFTMETAL_API size_t softmetal_log_text(char *text, size_t room);
SOFTMETAL_API int softmetal_log_count(const char *event); /* lines that begin with this word */

#endif
