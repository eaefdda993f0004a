/* The settings of softmetal.h, its faults and its log, as the device's files use them. */
#ifndef SOFTMETAL_SETTINGS_H
#define SOFTMETAL_SETTINGS_H

#import <Foundation/Foundation.h>

#include "softmetal.h"

typedef struct {
    enum softmetal_action action;
    int present, apple_family, metal3, residency_sets, samples_dispatches, stamps, captures;
    uint64_t buffer_length, working_set, memory;
    int checked, workers, kernels, poison;
    uint64_t seed;
    int fail_allocation, fail_residency_set, refuse_no_copy;
    int fail_commands, failure_code, failure_dispatches;
    char failing_kernel[64]; /* or empty */
    int kernel_failure_code;
} soft_settings;

extern soft_settings soft_set;

/* Counts a plan of softmetal_fail_... down; whether this is the one that fails. */
int soft_is_planned(int *plan);

/* Reports misuse of the API. Returns only where faults are recorded. */
void soft_fault(NSString *format, ...) NS_FORMAT_FUNCTION(1, 2);
/* Adds to the list and does no more. */
void soft_note_fault(const char *text);

NSError *soft_error(NSString *domain, NSInteger code, NSString *format, ...)
    NS_FORMAT_FUNCTION(3, 4);

/* +1 when an object of ours is made, -1 when it goes. */
void soft_count(id object, int by);

/* An event for the log: a word, a name where it has one, and numbers, whose meaning is in reports.m.
 * The pointer `word` is kept; the name is copied. */
void soft_log_event(const char *word, const char *name, int n, const int64_t *numbers);
extern int soft_log_on;
#define LOG(word, name, ...)                                                                       \
    do {                                                                                           \
        if (soft_log_on) {                                                                         \
            const int64_t numbers_[] = {0, ##__VA_ARGS__};                                         \
            soft_log_event(word, name, (int)(sizeof numbers_ / sizeof *numbers_) - 1, numbers_ + 1); \
        }                                                                                          \
    } while (0)

#endif
