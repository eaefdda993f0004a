/* The replay loop: what it refuses, how it is cancelled and interrupted, and what a fork does. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "recording.h"

enum { WIDTH = 48, TOKENS = 3, ADDITIONS = 40 };

/* x + x + ... in ops that each wait for the one before: many places to stop at. */
static recording record_additions(void)
{
    float x[TOKENS * WIDTH];
    for (int i = 0; i < TOKENS * WIDTH; i++) x[i] = random_float();
    recording r = {.edge = EDGE_END};
    int input = add_input(&r, TOKENS, WIDTH, x), sum = input;
    for (int i = 0; i < ADDITIONS; i++) {
        int next = i + 1 < ADDITIONS ? add_value(&r, WIDTH) : add_result(&r, WIDTH);
        add_op_xyw(&r, OP_add, sum, next, -1)->inputs[1] = input;
        sum = next;
    }
    return r;
}

typedef struct {
    recording r;
    batch b;
    cpu_device *device;
    cpu_program *program;
    cpu_kv *kv;
    float result[TOKENS * WIDTH];
} scene;

static void open_scene(scene *s, int n_threads)
{
    int bad_op;
    s->r = record_additions();
    s->b = batch_of(1, (int[]){TOKENS});
    program_tables tables = tables_of(&s->r, TOKENS);
    s->device = cpu_device_create(0, n_threads);
    s->program = cpu_program_create(s->device, &tables, &bad_op);
    s->kv = cpu_kv_create(1, 1, 16, KV_F16);
    CHECK(s->program && s->kv && cpu_kv_grow(s->kv, 1) == 0, "op %d is refused", bad_op);
}

static void close_scene(scene *s)
{
    cpu_kv_destroy(s->kv);
    cpu_program_destroy(s->program);
    cpu_device_destroy(s->device);
    batch_free(s->b);
    recording_free(&s->r);
}

static int run_scene(scene *s, const int *cancel, int (*poll)(void))
{
    step whole = batch_step(&s->b, 0, TOKENS, s->result);
    return cpu_step(s->device, s->program, s->kv, &whole, cancel, poll);
}

static void expect_refused(const recording *r, int number, const char *what)
{
    int bad_op = -1;
    program_tables tables = tables_of(r, TOKENS);
    cpu_device *device = cpu_device_create(0, 1);
    cpu_program *program = cpu_program_create(device, &tables, &bad_op);
    CHECK(!program && bad_op == number, "%s: op %d is refused, expected %d", what, bad_op, number);
    cpu_program_destroy(program);
    cpu_device_destroy(device);
}

static void test_unsound_programs(void)
{
    recording good = record_additions(), r;
#define REFUSED(number, change)                 \
    do {                                        \
        r = good;                               \
        change;                                 \
        expect_refused(&r, number, #change);    \
    } while (0)
    REFUSED(5, r.ops[5].op = OP_COUNT);
    REFUSED(5, r.ops[5].op = -1);
    REFUSED(7, r.ops[7].inputs[1] = r.n_values);
    REFUSED(7, r.ops[7].inputs[1] = -1);
    REFUSED(8, r.ops[8].outputs[0] = -2);
    REFUSED(8, r.ops[8].outputs[0] = -1);
    REFUSED(9, r.ops[9].weights[0] = 0);
    REFUSED(0, r.ops[0].weights[0] = r.n_weights);
    REFUSED(0, r.weights[0].format = FORMAT_COUNT);
    REFUSED(0, r.weights[0].format = FORMAT_F64);
    REFUSED(0, r.weights[0].data = NULL);
    REFUSED(0, r.weights[0].format = FORMAT_Q4_K);
#undef REFUSED
    recording_free(&good);
}

/* Groups of a packed matrix that would begin inside each other, and a matrix that is not packed. */
static void test_unsound_matrices(void)
{
    enum { N_OUT = 33, N_IN = 64 };
    float x[N_IN] = {1};
    recording r = {.edge = EDGE_END};
    int input = add_input(&r, 1, N_IN, x), weight = add_matrix(&r, FORMAT_Q8_0, N_OUT, N_IN);
    add_op_xyw(&r, OP_matmul, input, add_result(&r, N_OUT), weight);
    const weight_record good = r.weights[weight];
    r.weights[weight].row_bytes = good.row_bytes - 1;
    expect_refused(&r, 1, "groups that overlap");
    r.weights[weight].row_bytes = -good.row_bytes;
    expect_refused(&r, 1, "groups backwards");
    r.weights[weight] = good;
    r.weights[weight].packed = 0;
    expect_refused(&r, 1, "a matrix as it is in the file");
    recording_free(&r);
}

static void test_unsound_steps(void)
{
    int never = 0;
    scene s;
    open_scene(&s, 1);
    step good = batch_step(&s.b, 0, TOKENS, s.result), bad;
#define REFUSED(expected, ...)                                                                     \
    do {                                                                                           \
        bad = good;                                                                                \
        __VA_ARGS__;                                                                               \
        int status = cpu_step(s.device, s.program, s.kv, &bad, &never, NULL);                      \
        CHECK(status == (expected), "%s: status %d, expected %d", #__VA_ARGS__, status, expected); \
    } while (0)
    int32_t past[] = {0, 1, TOKENS}, negative[] = {0, -1, 2}, far[] = {0, 1, PAGE_TOKENS};
    int32_t apart[] = {0, 40, 100}, pages[] = {0, -1, 1, 2}, no_page[] = {-1}, beyond[] = {4711};
    REFUSED(STEP_TOO_LARGE, bad.n_tokens = TOKENS + 1);
    REFUSED(STEP_TOO_LARGE, bad.n_logits = 1);
    REFUSED(STEP_BAD_TOKEN, bad.token_ids = past);
    REFUSED(STEP_BAD_TOKEN, bad.token_ids = negative);
    REFUSED(STEP_BAD_PLACE, bad.positions = negative);
    REFUSED(STEP_BAD_PLACE, bad.positions = far);
    REFUSED(STEP_BAD_PLACE, bad.sequences = negative);
    REFUSED(STEP_BAD_PLACE, bad.sequences = past);
    REFUSED(STEP_BAD_PLACE, bad.page_table = no_page);
    REFUSED(STEP_BAD_PLACE, bad.page_table = beyond);
    REFUSED(STEP_BAD_PLACE, bad.positions = apart; bad.page_table = pages; bad.max_pages = 4);
    REFUSED(STEP_OK, (void)bad);
#undef REFUSED
    close_scene(&s);
}

/* A step may be cancelled at any moment: all threads leave before the same op, the next step is
 * whole again. */
static void *switch_on_and_off(void *argument)
{
    int *cancel = argument, state = 0;
    while (state >= 0) {
        usleep((unsigned)(state * 37 % 200));
        int old = __atomic_load_n(cancel, __ATOMIC_RELAXED);
        if (old < 0) return NULL;
        __atomic_compare_exchange_n(cancel, &old, !old, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        state++;
    }
    return NULL;
}

static void test_cancel(int n_threads)
{
    enum { STEPS = 400 };
    int cancel = 1, never = 0, n_ended[2] = {0, 0};
    pthread_t other;
    scene s;
    open_scene(&s, n_threads);
    CHECK(run_scene(&s, &cancel, NULL) == STEP_CANCELLED, "cancelled before it began");
    if (pthread_create(&other, NULL, switch_on_and_off, &cancel)) return;
    for (int i = 0; i < STEPS; i++) {
        int status = run_scene(&s, &cancel, NULL);
        CHECK(status == STEP_OK || status == STEP_CANCELLED, "status %d", status);
        if (status == STEP_OK || status == STEP_CANCELLED) n_ended[status == STEP_CANCELLED]++;
    }
    __atomic_store_n(&cancel, -1, __ATOMIC_RELAXED);
    pthread_join(other, NULL);
    CHECK(n_ended[0] + n_ended[1] == STEPS, "%d steps ended", n_ended[0] + n_ended[1]);
    CHECK(run_scene(&s, &never, NULL) == STEP_OK, "the step after the cancelled ones");
    const float *x = s.r.memory[0].data;
    for (int i = 0; i < TOKENS * WIDTH; i++) {
        float sum = x[i];
        for (int j = 0; j < ADDITIONS; j++) sum += x[i];
        CHECK(s.result[i] == sum, "%g instead of %g", (double)s.result[i], (double)sum);
    }
    close_scene(&s);
}

static int polls;
static int poll_twice(void) { return ++polls == 2; }

/* poll is asked 20 ms into a step at the earliest, so this one is long: 2,000 products with a
 * matrix of 512 by 512. */
static void test_poll(void)
{
    enum { PRODUCTS = 2000, SIDE = 512 };
    static op_record ops[PRODUCTS];
    static float zeros[SIDE * SIDE], y[SIDE];
    int never = 0, bad_op;
    recording r = {.edge = EDGE_END};
    batch b = batch_of(1, (int[]){1});
    int input = add_input(&r, 1, SIDE, zeros), result = add_result(&r, SIDE);
    add_op_xyw(&r, OP_matmul, input, result, add_floats(&r, SIDE, SIDE, zeros));
    for (int i = 0; i < PRODUCTS; i++) ops[i] = r.ops[i > 0];
    program_tables tables = tables_of(&r, 1);
    tables.ops = ops;
    tables.n_ops = PRODUCTS;
    cpu_device *device = cpu_device_create(0, 2);
    cpu_program *program = cpu_program_create(device, &tables, &bad_op);
    cpu_kv *kv = cpu_kv_create(1, 1, 16, KV_F16);
    CHECK(program && cpu_kv_grow(kv, 1) == 0, "op %d is refused", bad_op);
    step whole = batch_step(&b, 0, 1, y);
    int status = cpu_step(device, program, kv, &whole, &never, poll_twice);
    CHECK(status == STEP_INTERRUPTED && polls == 2, "status %d after %d polls", status, polls);
    cpu_kv_destroy(kv);
    cpu_program_destroy(program);
    cpu_device_destroy(device);
    batch_free(b);
    recording_free(&r);
}

static void test_fork(void)
{
    int never = 0;
    scene s;
    open_scene(&s, 2);
    CHECK(run_scene(&s, &never, NULL) == STEP_OK, "the step before the fork");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(20);
        int status = run_scene(&s, &never, NULL);
        cpu_device_destroy(s.device);
        _exit(status);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == STEP_FORKED,
          "a step in a forked child: status %x", (unsigned)status);
    close_scene(&s);
}

void test_replay(void)
{
    test_unsound_programs();
    test_unsound_matrices();
    test_unsound_steps();
    for (int n_threads = 1; n_threads <= 8; n_threads *= 2) test_cancel(n_threads);
    test_poll();
    test_fork();
}
