// pack_bitmask and unpack_bitmask on CUDA: the bits of 32 columns are a word, 32 words a warp's work. First every
// thread block counts its bits, a scan tells it where its values begin, then the values move. Free of torch.
#pragma once
#include "pack.cuh"

namespace gpu {
constexpr int MASK_THREADS = 256;
constexpr int MASK_WARPS = MASK_THREADS / 32;
constexpr int SCAN_THREADS = 1024;

// What lies where: a bit for each column, whole bytes for a row, so that the last word of a row may be short.
struct MaskShape {
    int64_t rows, cols;

    HOST_DEVICE int64_t row_bytes() const { return ceil_div(cols, 8); }
    HOST_DEVICE int64_t row_words() const { return ceil_div(cols, 32); }
    HOST_DEVICE int64_t words() const { return rows * row_words(); }
    HOST_DEVICE int64_t blocks() const { return ceil_div(words(), MASK_THREADS); }
};

// One word of the mask: where its bytes and its columns begin, and how many columns it has.
struct WordPlace {
    int64_t byte, value, left; // left: columns from here to the end of the row

    HOST_DEVICE int width() const { return left < 32 ? int(left) : 32; }
    HOST_DEVICE int bytes() const { return (width() + 7) / 8; }
    HOST_DEVICE uint32_t columns() const { return width() == 32 ? ~0u : (1u << width()) - 1; }
    HOST_DEVICE void advance(int64_t cols) { // to the next word's columns, which follow without a gap
        value += width();
        left = left > 32 ? left - 32 : cols;
    }
};

HOST_DEVICE WordPlace place_of_word(int64_t word, MaskShape shape) {
    const int64_t row = word / shape.row_words(), column = word % shape.row_words() * 32;
    return {row * shape.row_bytes() + column / 8, row * shape.cols + column, shape.cols - column};
}

// What the counting finds, and the scan makes of it: [blocks] the bits of a block, then those before it; then the bits
// of all; then whether a bit is set after the last column. Zero at first.
struct Counts {
    int64_t* data;
    int64_t blocks;

    static constexpr int64_t size(int64_t blocks) { return blocks + 2; }
    HOST_DEVICE int64_t* total() const { return data + blocks; }
    HOST_DEVICE int64_t* stray() const { return data + blocks + 1; }
};

struct MaskShared {
    uint32_t warp_sums[MASK_WARPS];
};

// Each thread brings one word.
__device__ __forceinline__ void count_word(uint32_t word, Counts counts) {
    auto& shared = shared_memory<MaskShared>();
    const uint32_t sum = sum_up_to_here(uint32_t(__popc(word)), shared.warp_sums);
    if (threadIdx.x == MASK_THREADS - 1) counts.data[blockIdx.x] = sum;
}

// The mask's booleans to bits, which are counted. A warp makes one word after the other, each lane keeps one.
static __global__ void __launch_bounds__(MASK_THREADS)
    mark_kernel(const bool* mask, uint8_t* bitmask, MaskShape shape, Counts counts) {
    const int lane = threadIdx.x % 32;
    const int64_t own = int64_t(blockIdx.x) * MASK_THREADS + threadIdx.x;
    const int64_t first = own - lane;
    uint32_t word = 0;
    if (first < shape.words()) { // the same for a whole warp
        WordPlace place = place_of_word(first, shape);
        const int64_t count = shape.words() - first;
#pragma unroll 4
        for (int step = 0; step < 32 && step < count; ++step) {
            const bool kept = lane < place.width() && mask[place.value + lane];
            const uint32_t bits = __ballot_sync(ALL_LANES, kept);
            if (step == lane) word = bits;
            place.advance(shape.cols);
        }
    }
    if (own < shape.words()) {
        const WordPlace place = place_of_word(own, shape);
        store_words(Words<1>{{word}}, bitmask + place.byte, place.bytes());
    }
    count_word(word, counts);
}

// Bits that someone else made: those after the last column of a row must be 0.
static __global__ void __launch_bounds__(MASK_THREADS)
    count_kernel(const uint8_t* bitmask, MaskShape shape, Counts counts) {
    const int64_t own = int64_t(blockIdx.x) * MASK_THREADS + threadIdx.x;
    uint32_t word = 0;
    if (own < shape.words()) {
        const WordPlace place = place_of_word(own, shape);
        word = load_words<1>(bitmask + place.byte, place.bytes()).word[0];
        if (word & ~place.columns()) atomicOr(reinterpret_cast<unsigned long long*>(counts.stray()), 1ull);
    }
    count_word(word, counts);
}

struct ScanShared {
    int64_t warp_sums[SCAN_THREADS / 32];
    int64_t sum;
};

// One thread block: each count becomes the sum of those before it.
static __global__ void __launch_bounds__(SCAN_THREADS) scan_kernel(Counts counts) {
    auto& shared = shared_memory<ScanShared>();
    int64_t before = 0;
    for (int64_t first = 0; first < counts.blocks; first += SCAN_THREADS) {
        const int64_t block = first + threadIdx.x;
        const int64_t count = block < counts.blocks ? counts.data[block] : 0;
        const int64_t up_to = sum_up_to_here(count, shared.warp_sums);
        if (block < counts.blocks) counts.data[block] = before + up_to - count;
        if (threadIdx.x == SCAN_THREADS - 1) shared.sum = up_to;
        __syncthreads();
        before += shared.sum; // the next is written after the barrier inside the sum
    }
    if (threadIdx.x == 0) *counts.total() = before;
}

// The values of the mask's columns in `dense`, those of its bits in `kept`; which of the two is written is PACK's.
template <class Value, bool PACK> struct Sides;
template <class Value> struct Sides<Value, true> {
    const Value* dense;
    Value* kept;
    __device__ __forceinline__ void move(int64_t column, int64_t place, bool bit, bool) const {
        if (bit) kept[place] = dense[column];
    }
};
template <class Value> struct Sides<Value, false> {
    Value* dense;
    const Value* kept;
    __device__ __forceinline__ void move(int64_t column, int64_t place, bool bit, bool inside) const {
        if (inside) dense[column] = bit ? kept[place] : Value(0);
    }
};

// Bits after the last column are not looked at, so a mask that was counted otherwise does no harm here either.
template <class Value, bool PACK> __global__ void __launch_bounds__(MASK_THREADS)
    move_kernel(Sides<Value, PACK> sides, const uint8_t* bitmask, MaskShape shape, Counts counts) {
    auto& shared = shared_memory<MaskShared>();
    const int lane = threadIdx.x % 32;
    const int64_t own = int64_t(blockIdx.x) * MASK_THREADS + threadIdx.x;
    uint32_t word = 0;
    if (own < shape.words()) {
        const WordPlace place = place_of_word(own, shape);
        word = load_words<1>(bitmask + place.byte, place.bytes()).word[0] & place.columns();
    }
    const uint32_t count = __popc(word);
    const uint32_t before = sum_up_to_here(count, shared.warp_sums) - count;
    int64_t kept = counts.data[blockIdx.x] + __shfl_sync(ALL_LANES, before, 0);
    const int64_t first = own - lane, words = shape.words() - first;
    if (words <= 0) return; // a whole warp
    WordPlace place = place_of_word(first, shape);
#pragma unroll 4
    for (int step = 0; step < 32 && step < words; ++step) {
        const uint32_t bits = __shfl_sync(ALL_LANES, word, step);
        sides.move(place.value + lane, kept + __popc(bits & ((1u << lane) - 1)), bits >> lane & 1,
                   lane < place.width());
        kept += __popc(bits);
        place.advance(shape.cols);
    }
}

inline dim3 mask_grid(MaskShape shape) { return dim3(unsigned(shape.blocks())); }

inline void scan_counts(Counts counts, Stream stream) {
    launch(scan_kernel, dim3(1), SCAN_THREADS, sizeof(ScanShared), stream, counts);
}

// At least one word, here and below.
inline void mark_mask(const bool* mask, uint8_t* bitmask, MaskShape shape, Counts counts, Stream stream) {
    launch(mark_kernel, mask_grid(shape), MASK_THREADS, sizeof(MaskShared), stream, mask, bitmask, shape, counts);
    scan_counts(counts, stream);
}

inline void count_bitmask(const uint8_t* bitmask, MaskShape shape, Counts counts, Stream stream) {
    launch(count_kernel, mask_grid(shape), MASK_THREADS, sizeof(MaskShared), stream, bitmask, shape, counts);
    scan_counts(counts, stream);
}

// After the scan, and only if its total is the number of values in `kept`.
template <class Value, bool PACK>
void move_values(Sides<Value, PACK> sides, const uint8_t* bitmask, MaskShape shape, Counts counts, Stream stream) {
    launch(move_kernel<Value, PACK>, mask_grid(shape), MASK_THREADS, sizeof(MaskShared), stream, sides, bitmask, shape,
           counts);
}
} // namespace gpu
