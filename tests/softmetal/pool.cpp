/* Threads that wait for executions; made when first needed, and there until the process ends. */
#include <condition_variable>
#include <thread>
#include <vector>

#include "worker.h"

namespace softmetal {

namespace {

class pool {
  public:
    void run(execution &e, int n)
    {
        while ((int)helpers.size() < n - 1) {
            helpers.push_back(new worker);
            std::thread(&pool::serve, this, helpers.back(), (int)helpers.size() - 1).detach();
        }
        {
            const std::lock_guard<std::mutex> lock(mutex);
            job = &e;
            wanted = busy = n - 1;
            round++;
        }
        if (n > 1)
            wake.notify_all();
        own.run(e);
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [this] { return busy == 0; });
    }

  private:
    worker own;
    std::vector<worker *> helpers;
    std::mutex mutex;
    std::condition_variable wake, done;
    execution *job = nullptr;
    int wanted = 0, busy = 0;
    unsigned long round = 0;

    void serve(worker *w, int number)
    {
        unsigned long seen = 0;
        for (;;) {
            execution *e;
            {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return round != seen && number < wanted; });
                seen = round;
                e = job;
            }
            w->run(*e);
            const std::lock_guard<std::mutex> lock(mutex);
            if (--busy == 0)
                done.notify_all();
        }
    }
};

} // namespace

void run_on_workers(execution &e, int n)
{
    static pool *workers = new pool; /* never destroyed: its threads outlive main */
    workers->run(e, e.count < 2 || e.checks || n < 1 ? 1 : n);
}

} // namespace softmetal
