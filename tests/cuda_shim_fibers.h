// The threads of a block for cuda_shim.h, which includes it: a fiber each, which switch at barriers and shuffles.
#pragma once
#include <csetjmp>
#include <csignal>
#include <ucontext.h>

#include <cstring>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "racecheck.h"

// What runs inside of fibers and is no part of a kernel.
#define SHIM_OWN __attribute__((no_sanitize("thread")))

namespace shim {
struct Indices {
    dim3 thread = dim3(0), block = dim3(0), grid = dim3(0);
};
inline Indices indices;

using Site = std::source_location;
struct Barrier {
    int arrived = 0;
    uint64_t round = 0;
    Site site; // where the first thread of this round arrived
};

constexpr int MOST_COPIES = 128; // of a thread

// Runs a kernel in every block: a stack is made once, and switched to without a call of the system.
struct Fiber {
    jmp_buf place;
    std::unique_ptr<char[]> stack;
    bool started = false;
    unsigned thread;
    struct Copy {
        void* to;
        const void* from; // null where zeros are meant
        size_t bytes;
    } copies[MOST_COPIES]; // begun, not waited for
    int copying = 0;
    const Barrier* waits = nullptr; // until its round is no longer `round`
    uint64_t round = 0;
    bool done = false;
};

constexpr size_t STACK_BYTES = 64 << 10, SHARED_BYTES = 227 << 10;
constexpr unsigned char BEYOND = 0x5a;
alignas(16) inline unsigned char shared_bytes[SHARED_BYTES];
inline size_t shared_size = 0;
inline bool backwards = false;
inline int launches = 0; // of kernels
inline std::vector<Fiber> fibers;
inline Barrier block_barrier, warp_barriers[32];
inline Fiber* current = nullptr;
inline int rounds = 0;
inline jmp_buf scheduler;
inline std::function<void()> body;
alignas(16) inline unsigned char lanes[32][32][16]; // what each lane of each warp shows the others

inline std::string skipped_file; // the barrier that a test leaves out
inline unsigned skipped_line = 0;

inline const char* failure = nullptr; // the first thing that went wrong
SHIM_OWN inline void fail(const char* what) { failure = failure ? failure : what; }

SHIM_OWN inline void leave_fiber() {
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

// Whether the thread is the last to arrive; the others have waited for it when they return. All must come by one line:
// of threads that come by two a GPU may make what it likes.
SHIM_OWN inline bool wait_at(Barrier& barrier, int expected, const Site& site) {
    if (barrier.arrived == 0) barrier.site = site;
    if (barrier.site.line() != site.line() || strcmp(barrier.site.file_name(), site.file_name()))
        fail("threads that meet at different barriers");
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        ++barrier.round;
        return true;
    }
    current->waits = &barrier;
    current->round = barrier.round;
    leave_fiber();
    return false;
}

SHIM_OWN inline bool skips(const Site& site) {
    if (site.line() != skipped_line) return false;
    const size_t length = strlen(site.file_name()), end = skipped_file.size();
    return length >= end && skipped_file == site.file_name() + length - end;
}

SHIM_OWN inline void run_fiber() {
    for (;;) {
        body();
        current->done = true;
        leave_fiber();
    }
}

SHIM_OWN inline void enter_fiber(Fiber& fiber) {
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&context, run_fiber, 0);
    setcontext(&context);
}

inline bool resume(Fiber& fiber) {
    if (fiber.done || (fiber.waits && fiber.waits->round == fiber.round)) return false;
    current = &fiber;
    indices.thread = dim3(fiber.thread);
    racecheck::run(fiber.thread, fiber.stack.get(), STACK_BYTES);
    enter_fiber(fiber);
    racecheck::pause();
    if (racecheck::found()) fail(racecheck::found());
    return true;
}

// A warp runs ahead of the others as far as it can.
inline bool run_warp(int warp) {
    bool moved = false;
    for (bool again = true; again; moved |= again) {
        again = false;
        if (++rounds > 100000) fail("a block that does not end");
        if (failure) return false;
        for (int lane = 0; lane < 32; ++lane) again |= resume(fibers[32 * warp + (backwards ? 31 - lane : lane)]);
    }
    return moved;
}

// Fibers as many as a block has threads, at the kernel's beginning.
inline void begin_fibers(int threads) {
    fibers.resize(threads);
    for (int t = 0; t < threads; ++t) {
        Fiber& fiber = fibers[t];
        if (!fiber.stack) fiber.stack.reset(new char[STACK_BYTES]);
        fiber.started = fiber.started && fiber.done; // else it stands amid a kernel that failed
        fiber.thread = t;
        fiber.copying = 0;
        fiber.waits = nullptr;
        fiber.done = false;
    }
}

inline void run_block(unsigned block, int threads) {
    racecheck::begin_block(block, shared_bytes, shared_size, SHARED_BYTES);
    memset(shared_bytes, 0xff, shared_size); // NaN, so that reading before writing shows
    begin_fibers(threads);
    block_barrier = {};
    for (Barrier& barrier : warp_barriers) barrier = {};
    rounds = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int w = 0; w < threads / 32; ++w) moved |= run_warp(backwards ? threads / 32 - 1 - w : w);
    }
    for (const Fiber& fiber : fibers)
        if (!fiber.done) fail("a barrier that not every thread reaches");
    const unsigned char* beyond = shared_bytes + shared_size;
    const size_t size = SHARED_BYTES - shared_size;
    if (size && (*beyond != BEYOND || memcmp(beyond, beyond + 1, size - 1)))
        fail("shared memory written beyond its size");
}

SHIM_OWN inline int lane() { return int(current->thread % 32); }

// A thread that touches memory of nobody (emulation.py puts such pages around every tensor) ends there.
inline void end_at_fault(int) {
    fail("memory touched out of bounds");
    current->done = true;
    current->started = false;
    _longjmp(scheduler, 1);
}
struct TrapFaults {
    struct sigaction before;
    TrapFaults() {
        struct sigaction action = {};
        action.sa_handler = end_at_fault;
        action.sa_flags = SA_NODEFER; // no return from it ends the blocking of further ones
        sigaction(SIGSEGV, &action, &before);
    }
    ~TrapFaults() { sigaction(SIGSEGV, &before, nullptr); }
};
} // namespace shim
