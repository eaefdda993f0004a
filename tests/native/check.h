/* What the native tests share: counted checks, random numbers, and memory beside a guard page. */
#ifndef SMELT_TESTS_CHECK_H
#define SMELT_TESTS_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Counts a check and prints one that fails: CHECK(condition, "printf format", ...). */
#define CHECK(condition, ...) check((condition) != 0, __FILE__, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 4, 5)))
void check(int holds, const char *file, int line, const char *format, ...);
int checks_report(void); /* prints "N passed, N failed"; the exit status */

/* The same numbers in every run. */
uint32_t random_u32(void);
int random_below(int n);
float random_float(void); /* -1 <= x < 1 */

/* Memory that ends at, or begins after, a page that must not be touched: a read of one byte too
 * many is a crash, also where it would fall into other valid memory. */
enum edge { EDGE_END, EDGE_START };
typedef struct {
    void *data; /* [nbytes], at an address divisible by 2, and by 4 if nbytes is */
    void *mapping;
    size_t mapped;
} guarded;

guarded guarded_alloc(size_t nbytes, enum edge edge);
void guarded_free(guarded g);

#endif
