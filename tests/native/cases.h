/* The native tests, one function a file, in the order in which main runs them. */
#ifndef SMELT_TESTS_CASES_H
#define SMELT_TESTS_CASES_H

void test_threads(void);
void test_matmul(void);
void test_slices(void);
void test_many_products(void); /* takes minutes */
void test_attention(void);
void test_layer(void);
void test_replay(void);
void test_checks(void);
void test_limits(void);

#endif
