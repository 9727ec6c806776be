// Small kernels, each right, or with one defect that the race checker must find; tests/test_racecheck.py calls them.
#include "device.cuh"
#include "emulated_calls.h"

using namespace gpu;

constexpr int THREADS = 64;
struct Tile {
    uint32_t words[THREADS], last;
    uint8_t bytes[THREADS];
};

// Each thread reads what another warp's has written.
static __global__ void across_the_block(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    tile.words[threadIdx.x] = threadIdx.x;
    if (!defect) __syncthreads();
    const uint32_t other = tile.words[THREADS - 1 - threadIdx.x];
    __syncthreads();
    out[blockIdx.x * THREADS + threadIdx.x] = other;
}

// All read, then one writes: the barrier that is missing is the one behind a read.
static __global__ void after_a_read(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    if (threadIdx.x == 0) tile.last = 7;
    __syncthreads();
    out[blockIdx.x * THREADS + threadIdx.x] = tile.last;
    if (!defect) __syncthreads();
    if (threadIdx.x == THREADS - 1) tile.last = 8;
}

// Each lane reads its neighbour's; a shuffle is no barrier for memory.
static __global__ void across_the_warp(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    tile.words[threadIdx.x] = threadIdx.x;
    uint32_t sum = __shfl_xor_sync(ALL_LANES, uint32_t(threadIdx.x), 1);
    if (!defect) __syncwarp();
    sum += tile.words[threadIdx.x ^ 1];
    out[blockIdx.x * THREADS + threadIdx.x] = sum;
}

// A barrier of the warp orders nothing between two warps.
static __global__ void a_warp_for_a_block(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    tile.words[threadIdx.x] = threadIdx.x;
    defect ? __syncwarp() : __syncthreads();
    out[blockIdx.x * THREADS + threadIdx.x] = tile.words[(threadIdx.x + 32) % THREADS];
}

// Neighbouring bytes to neighbouring threads are no race; the same byte twice is one.
static __global__ void bytes(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    tile.bytes[defect ? threadIdx.x / 2 : threadIdx.x] = uint8_t(threadIdx.x);
    __syncthreads();
    out[blockIdx.x * THREADS + threadIdx.x] = tile.bytes[defect ? 0 : threadIdx.x];
}

static __global__ void unwritten(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    if (threadIdx.x < (defect ? THREADS - 1 : THREADS)) tile.words[threadIdx.x] = 1;
    __syncthreads();
    out[blockIdx.x * THREADS + threadIdx.x] = tile.words[threadIdx.x];
}

static __global__ void beyond(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    tile.words[threadIdx.x] = 0;
    out[blockIdx.x * THREADS + threadIdx.x] = (&tile)[defect].words[threadIdx.x];
}

// The blocks of a launch come in any order.
static __global__ void across_blocks(bool defect, uint32_t* out) {
    if (threadIdx.x == 0) out[defect ? 0 : blockIdx.x] = 1;
}

static __global__ void plain_beside_atomic(bool defect, uint32_t* out) {
    if (blockIdx.x > 0 || !defect)
        atomicAdd(out, 1u);
    else if (threadIdx.x == 0)
        out[0] += 1;
}

static __global__ void plain_read_beside_atomic(bool defect, uint32_t* out) {
    if (blockIdx.x > 0)
        atomicAdd(out, 1u);
    else if (threadIdx.x == 0)
        out[1] = defect ? out[0] : shim_load(out);
}

// The last block to finish sums up what all have written, and puts the counter back.
static __device__ void finish_last(bool before, bool after, uint32_t* out, uint32_t* counter, uint32_t* sum) {
    auto& tile = shared_memory<Tile>();
    out[blockIdx.x * THREADS + threadIdx.x] = 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        if (before) __threadfence();
        tile.last = atomicAdd(counter, 1u) == gridDim.x - 1;
        if (after) __threadfence();
    }
    __syncthreads();
    if (!tile.last) return;
    for (uint32_t block = 0; block < gridDim.x; ++block) atomicAdd(sum, out[block * THREADS + threadIdx.x]);
    if (threadIdx.x == 0) *counter = 0;
}
static __global__ void last_without_release(bool defect, uint32_t* out) {
    finish_last(!defect, true, out + 2, out, out + 1);
}
static __global__ void last_without_acquire(bool defect, uint32_t* out) {
    finish_last(true, !defect, out + 2, out, out + 1);
}

// What a thread writes after its atomic, that atomic does not release.
static __global__ void written_too_late(bool defect, uint32_t* out) {
    if (threadIdx.x != 0) return;
    uint32_t* own = out + 1 + blockIdx.x;
    if (!defect) *own = 5;
    __threadfence();
    const bool last = atomicInc(out, 100u) == gridDim.x - 1;
    __threadfence();
    if (defect) *own = 5;
    if (last)
        for (uint32_t block = 0; block < gridDim.x; ++block) out[100] += out[1 + block];
}

// Nor does a fence release the atomics between it and the one that counts.
static __global__ void fence_too_early(bool defect, uint32_t* out) {
    if (threadIdx.x != 0) return;
    if (defect) __threadfence();
    atomicAdd(out + 1 + blockIdx.x, 5u);
    if (!defect) __threadfence();
    const bool last = atomicAdd(out, 1u) == gridDim.x - 1;
    __threadfence();
    if (last) out[100] = out[1] + out[2] + out[3];
}

// An atomic whose result nobody uses has not read what others did.
static __global__ void result_unused(bool defect, uint32_t* out) {
    if (threadIdx.x != 0) return;
    if (defect) __threadfence();
    atomicAdd(out + 1, 5u);
    if (!defect) __threadfence();
    const bool last = atomicAdd(out, 1u) == gridDim.x - 1;
    __threadfence();
    if (last) out[2] = out[1];
}

// A load releases nothing.
static __global__ void load_for_release(bool defect, uint32_t* out) {
    if (threadIdx.x != 0) return;
    const bool last = atomicAdd(out + 1, 1u) == gridDim.x - 1;
    out[2 + blockIdx.x] = 5;
    __threadfence();
    if (!defect) atomicAdd(out, 1u);
    const uint32_t count = load_relaxed(out);
    __threadfence();
    if (last && (defect || count == gridDim.x)) out[100] = out[2] + out[3] + out[4];
}

// Of the two warps of the middle block that read, one releases what it read; the last block writes there.
static __global__ void one_warp_releases(bool defect, uint32_t* out) {
    if (threadIdx.x == 0 && blockIdx.x == 1) out[1] = out[100];
    if (!defect) __syncthreads();
    if (threadIdx.x != 32) return;
    out[2 + blockIdx.x] = out[100];
    __threadfence();
    const bool last = atomicAdd(out, 1u) == gridDim.x - 1;
    __threadfence();
    if (last) out[100] = 7;
}

static __global__ void two_barriers(bool defect, uint32_t* out) {
    if (defect && threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[blockIdx.x * THREADS + threadIdx.x] = 1;
}

static __global__ void lanes_that_left(bool defect, uint32_t* out) {
    if (defect && threadIdx.x % 32 > 20) return;
    out[blockIdx.x * THREADS + threadIdx.x] = __shfl_sync(ALL_LANES, uint32_t(threadIdx.x), 0);
}

// A struct of many bytes is moved by a call.
struct Large {
    uint32_t words[THREADS];
};
static __global__ void large(bool defect, uint32_t* out) {
    auto& tile = shared_memory<Tile>();
    tile.words[threadIdx.x] = threadIdx.x;
    if (!defect) __syncthreads();
    if (threadIdx.x == 0) memcpy(out + blockIdx.x * THREADS, tile.words, sizeof tile.words);
}

extern "C" {
#define PLANTED(NAME)                                                                                                  \
    void planted_##NAME(int64_t defect, uint32_t* out) {                                                               \
        launch(NAME, dim3(3), THREADS, sizeof(Tile), 0, defect != 0, out);                                             \
    }
PLANTED(across_the_block)
PLANTED(after_a_read)
PLANTED(across_the_warp)
PLANTED(a_warp_for_a_block)
PLANTED(bytes)
PLANTED(unwritten)
PLANTED(beyond)
PLANTED(across_blocks)
PLANTED(plain_beside_atomic)
PLANTED(plain_read_beside_atomic)
PLANTED(last_without_release)
PLANTED(last_without_acquire)
PLANTED(written_too_late)
PLANTED(fence_too_early)
PLANTED(result_unused)
PLANTED(load_for_release)
PLANTED(one_warp_releases)
PLANTED(two_barriers)
PLANTED(lanes_that_left)
PLANTED(large)
}
