// Enough of CUDA to run csrc/cuda/*.cuh on a CPU: each CUDA thread is a fiber, blocks run one after the other. Fibers
// switch at barriers and shuffles only, in an order that the test turns around, so that a missing barrier shows.
#pragma once
#include <ucontext.h>

#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    explicit dim3(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx(0), blockIdx(0), gridDim(0);

namespace shim {
struct Barrier {
    int arrived = 0;
    uint64_t round = 0;
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    unsigned thread;
    const Barrier* waits = nullptr; // until its round is no longer `round`
    uint64_t round = 0;
    bool done = false;
};

constexpr size_t STACK_BYTES = 64 << 10, SHARED_BYTES = 227 << 10;
constexpr unsigned char BEYOND = 0x5a;
alignas(16) inline unsigned char shared_bytes[SHARED_BYTES];
inline size_t shared_size = 0;
inline bool backwards = false;
inline std::vector<Fiber> fibers;
inline Barrier block_barrier, warp_barriers[32];
inline Fiber* current = nullptr;
inline ucontext_t scheduler;
inline std::function<void()> body;
alignas(16) inline unsigned char lanes[32][32][16]; // what each lane of each warp shows the others

inline const char* failure = nullptr; // the first thing that went wrong
inline void fail(const char* what) { failure = failure ? failure : what; }

inline void wait_at(Barrier& barrier, int expected) {
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        ++barrier.round;
        return;
    }
    current->waits = &barrier;
    current->round = barrier.round;
    swapcontext(&current->context, &scheduler);
}

inline void run_fiber() {
    body();
    current->done = true;
    swapcontext(&current->context, &scheduler);
}

inline bool resume(Fiber& fiber) {
    if (fiber.done || (fiber.waits && fiber.waits->round == fiber.round)) return false;
    current = &fiber;
    threadIdx = dim3(fiber.thread);
    swapcontext(&scheduler, &fiber.context);
    return true;
}

inline void run_block(int threads) {
    memset(shared_bytes, BEYOND, SHARED_BYTES);
    memset(shared_bytes, 0xff, shared_size); // NaN, so that reading before writing shows
    fibers = std::vector<Fiber>(threads);
    block_barrier = {};
    for (Barrier& barrier : warp_barriers) barrier = {};
    for (int t = 0; t < threads; ++t) {
        Fiber& fiber = fibers[t];
        fiber.thread = t;
        fiber.stack.reset(new char[STACK_BYTES]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&fiber.context, run_fiber, 0);
    }
    int rounds = 0;
    for (bool moved = true; moved;) {
        moved = false;
        if (++rounds > 100000) return fail("a block that does not end");
        for (int t = 0; t < threads; ++t) moved |= resume(fibers[backwards ? threads - 1 - t : t]);
    }
    for (const Fiber& fiber : fibers)
        if (!fiber.done) fail("a barrier that not every thread reaches");
    for (size_t i = shared_size; i < SHARED_BYTES; ++i)
        if (shared_bytes[i] != BEYOND) fail("shared memory written beyond its size");
}

template <class Value> Value exchange(Value value, int source) {
    static_assert(sizeof(Value) <= sizeof lanes[0][0]);
    const unsigned warp = current->thread / 32, lane = current->thread % 32;
    memcpy(lanes[warp][lane], &value, sizeof value);
    wait_at(warp_barriers[warp], 32);
    memcpy(&value, lanes[warp][source], sizeof value);
    wait_at(warp_barriers[warp], 32);
    return value;
}

inline int lane() { return int(current->thread % 32); }
} // namespace shim

inline void __syncthreads() { shim::wait_at(shim::block_barrier, int(shim::fibers.size())); }
inline void __syncwarp() { shim::wait_at(shim::warp_barriers[shim::current->thread / 32], 32); }

template <class Value> Value __shfl_sync(unsigned, Value value, int source, int width = 32) {
    return shim::exchange(value, shim::lane() / width * width + source % width);
}
template <class Value> Value __shfl_xor_sync(unsigned, Value value, int flip, int = 32) {
    return shim::exchange(value, shim::lane() ^ flip);
}
template <class Value> Value __shfl_up_sync(unsigned, Value value, int step) {
    return shim::exchange(value, shim::lane() < step ? shim::lane() : shim::lane() - step);
}
inline uint32_t atomicAdd(uint32_t* sum, uint32_t value) { return (*sum += value) - value; }

namespace gpu {
using Stream = int;

template <class Shared> Shared& shared_memory() { return *reinterpret_cast<Shared*>(shim::shared_bytes); }

template <class... Parameters, class... Arguments> void launch(void (*kernel)(Parameters...), dim3 grid, int threads,
                                                               size_t shared_bytes, Stream, Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || shared_bytes > shim::SHARED_BYTES || threads % 32)
        return shim::fail("bad launch");
    shim::shared_size = shared_bytes;
    shim::body = [=] { kernel(arguments...); };
    gridDim = grid;
    for (unsigned b = 0; b < grid.x * grid.y; ++b) {
        const unsigned block = shim::backwards ? grid.x * grid.y - 1 - b : b;
        blockIdx = dim3(block % grid.x, block / grid.x);
        shim::run_block(threads);
    }
}
} // namespace gpu
