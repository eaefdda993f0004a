/* The loops behind the machine's limits: on every instruction set they come to an end, and read
 * nothing that is not theirs. How fast they are is nobody's business here. */
#include "cases.h"
#include "check.h"
#include "cpu/cpu.h"

void test_limits(void)
{
    static const size_t sizes[] = {1, 255, 4095, 4096, 3 * 4096 + 100, 9 * 4096};
    for (int isa = 0; isa < cpu_isa_count(); isa++) {
        if (!cpu_isa_available(isa)) continue;
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            cpu_device *device = cpu_device_create(isa, n_threads);
            CHECK(device, "%s: device of %d threads", cpu_isa_name(isa), n_threads);
            CHECK(cpu_fma_rate(device, 100) > 0, "%s: fma", cpu_isa_name(isa));
            CHECK(cpu_dot_rate(device, 100) > 0, "%s: dot", cpu_isa_name(isa));
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                for (int edge = EDGE_END; edge <= EDGE_START; edge++) {
                    guarded memory = guarded_alloc(sizes[i], (enum edge)edge);
                    CHECK(cpu_read_rate(device, memory.data, sizes[i], 32768) >= 0, "%s: read",
                          cpu_isa_name(isa));
                    guarded_free(memory);
                }
            cpu_device_destroy(device);
        }
    }
}
