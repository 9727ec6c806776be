// Enough of CUDA to run csrc/cuda/*.cuh on a CPU: each CUDA thread is a fiber, blocks run one after the other. Fibers
// switch at barriers and shuffles only, a warp as late as it can, in an order that the test turns around, so that a
// missing barrier shows; built with the race checker (racecheck.h) it shows in any order.
#pragma once
#include <algorithm>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    explicit dim3(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#include "cuda_shim_fibers.h"

inline dim3 &threadIdx = shim::indices.thread, &blockIdx = shim::indices.block, &gridDim = shim::indices.grid;

inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
    return uint32_t((low | uint64_t(high) << 32) >> shift % 32);
}
inline uint32_t __funnelshift_rc(uint32_t low, uint32_t high, uint32_t shift) {
    return uint32_t((low | uint64_t(high) << 32) >> std::min(shift, 32u));
}
inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }

#include "cuda_shim_atomics.h"
#include "cuda_shim_warps.h"

namespace gpu {
using Stream = int;

SHIM_OWN inline void expect_aligned(const void* place, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(place) % bytes) shim::fail("a wide move off its boundary");
}
inline void expect_unwritten(const void* place, size_t bytes) { racecheck::expect_unwritten(place, bytes); }
inline void keep_order() {}
template <class Wide> Wide load_16_or_8_bytes_once(const void* from) { return *static_cast<const Wide*>(from); }
template <class Wide> void store_16_or_8_bytes_once(void* to, const Wide& wide) { memcpy(to, &wide, sizeof wide); }
SHIM_CALLED inline uint32_t load_relaxed(const uint32_t* from) {
    racecheck::atomic_read(from, sizeof *from, __builtin_return_address(0));
    return *from;
}
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
    const uint64_t bytes = low | uint64_t(high) << 32;
    uint32_t result = 0;
    for (int j = 0; j < 4; ++j) result |= uint32_t(bytes >> 8 * (selector >> 4 * j & 7) & 0xff) << 8 * j;
    return result;
}
inline void keep_here(float&) {}
template <class Scalar> Scalar larger_or_nan(Scalar a, Scalar b) { return a < b || b != b ? b : a; }
template <class Scalar> Scalar smaller_or_nan(Scalar a, Scalar b) { return b < a || b != b ? b : a; }
inline uint32_t shifted_right(uint32_t value, int bits) { return value >> bits; }
inline uint32_t and_or(uint32_t value, uint32_t mask, uint32_t bits) { return (value & mask) | bits; }
template <class Wide> void store_16_bytes(void* to, const Wide& wide) { memcpy(to, &wide, sizeof wide); }

// A copy lands when it is waited for.
SHIM_OWN inline void begin_copy(void* to, const void* from, size_t bytes) {
    expect_aligned(to, bytes);
    expect_aligned(from, bytes);
    if (shim::current->copying == shim::MOST_COPIES) return shim::fail("more copies than are emulated");
    shim::current->copies[shim::current->copying++] = {to, from, bytes};
}
SHIM_OWN inline void copy_16_bytes(void* to, const void* from) { begin_copy(to, from, 16); }
template <class Scalar> SHIM_OWN void copy_number(Scalar* to, const Scalar* from, bool present) {
    begin_copy(to, present ? from : nullptr, sizeof(Scalar));
}
__attribute__((noinline)) inline void land(void* to, const void* from, size_t bytes) {
    if (from)
        memcpy(to, from, bytes);
    else
        memset(to, 0, bytes);
}
SHIM_OWN inline void arrive_copies() {
    for (int i = 0; i < shim::current->copying; ++i) {
        const auto& [to, from, bytes] = shim::current->copies[i];
        land(to, from, bytes);
    }
    shim::current->copying = 0;
}

template <class Shared> Shared& shared_memory() { return *reinterpret_cast<Shared*>(shim::shared_bytes); }

template <class... Parameters, class... Arguments> void launch(void (*kernel)(Parameters...), dim3 grid, int threads,
                                                               size_t shared_bytes, Stream, Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || shared_bytes > shim::SHARED_BYTES || threads % 32)
        return shim::fail("bad launch");
    const shim::TrapFaults trap;
    ++shim::launches;
    shim::shared_size = shared_bytes;
    memset(shim::shared_bytes, shim::BEYOND, shim::SHARED_BYTES);
    shim::body = [=] { kernel(arguments...); };
    shim::indices.grid = grid;
    racecheck::begin_launch(reinterpret_cast<const void*>(kernel));
    racecheck::ignore(&shim::indices, sizeof shim::indices);
    for (unsigned b = 0; b < grid.x * grid.y; ++b) {
        const unsigned block = shim::backwards ? grid.x * grid.y - 1 - b : b;
        shim::indices.block = dim3(block % grid.x, block / grid.x);
        shim::run_block(block, threads);
    }
}
} // namespace gpu
