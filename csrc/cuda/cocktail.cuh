// CocktailSGD's compression on CUDA: first whether all is finite, then a thread block for each sampled block and more
// for those between them, last the header with the checksum that all have added to. Free of torch.
#pragma once
#include "cocktail_encode.cuh"

namespace gpu {
constexpr int64_t EIGHTS_PER_THREAD = 4; // estimates, not yet measured on a GPU
constexpr int RESIDENT = 4; // thread blocks of a multiprocessor, at least: asked for fewer registers, nvcc spills
constexpr int64_t MOST_CHECKING = 1 << 11;
constexpr int64_t MOST_PIECES = 1 << 15;
constexpr int64_t WORDS_PER_BLOCK = 1 << 12; // of a checksum

// While a payload is made its header is draft, zero at first. Whoever finds what is not finite says so; who writes,
// writes the same. A payload is on a boundary of 8 bytes.
struct Draft {
    uint32_t* payload;

    __device__ __forceinline__ bool finite() const { return payload[0] == 0; }
    __device__ __forceinline__ void say_not_finite() const { atomicOr(payload, 1u); }
    __device__ __forceinline__ unsigned long long* sum() const {
        return reinterpret_cast<unsigned long long*>(payload + 2);
    }
};

// Adds what all threads of the block bring.
__device__ __forceinline__ void add_for_block(unsigned long long* total, uint64_t own, uint64_t* warp_sums) {
    const uint64_t sum = sum_up_to_here(own, warp_sums);
    if (threadIdx.x == COCKTAIL_THREADS - 1) atomicAdd(total, static_cast<unsigned long long>(sum));
}

template <class Source> __device__ __forceinline__ void load_block(const Source& source, BlockShared& shared,
                                                                   const CocktailLayout& layout, int64_t begin) {
    for (int first = threadIdx.x * EIGHT; first < layout.block; first += COCKTAIL_THREADS * EIGHT)
        *reinterpret_cast<Eight*>(shared.values() + first) = source.load(begin + first);
}

__device__ __forceinline__ void store_block(const Numbers& to, BlockShared& shared, const CocktailLayout& layout,
                                            int64_t begin) {
    if (!to.data) return;
    for (int first = threadIdx.x * EIGHT; first < layout.block; first += COCKTAIL_THREADS * EIGHT)
        store_eight(to, begin + first, *reinterpret_cast<const Eight*>(shared.values() + first));
}

// What is compressed: fill() puts a block of it into shared memory, sent() takes away what goes, and store() keeps the
// rest.

struct GradientSource {
    Numbers gradient, residual;
    float scale;

    __device__ __forceinline__ Eight load(int64_t first) const {
        Eight sum = load_eight(gradient, first);
#pragma unroll
        for (float& value : sum.at) value = rounded_product(value, scale);
        if (!residual.data) return sum;
        const Eight kept = load_eight(residual, first);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) sum.at[i] = rounded_sum(sum.at[i], kept.at[i]);
        return sum;
    }
    __device__ __forceinline__ void fill(BlockShared& shared, const CocktailLayout& layout, int64_t begin) const {
        load_block(*this, shared, layout, begin);
    }
    __device__ __forceinline__ void sent(int64_t, float& value, float decoded) const {
        value = rounded_difference(value, decoded);
    }
    __device__ __forceinline__ void store(BlockShared& shared, const CocktailLayout& layout, int64_t begin) const {
        store_block(residual, shared, layout, begin);
    }
};

struct DeltaSource {
    Numbers local, other_model;

    __device__ __forceinline__ Eight load(int64_t first) const {
        Eight difference = load_eight(local, first);
        const Eight other = load_eight(other_model, first);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) difference.at[i] = rounded_difference(difference.at[i], other.at[i]);
        return difference;
    }
    __device__ __forceinline__ void fill(BlockShared& shared, const CocktailLayout& layout, int64_t begin) const {
        load_block(*this, shared, layout, begin);
    }
    __device__ __forceinline__ void sent(int64_t place, float&, float decoded) const {
        if (place < local.numel) local.put(place, rounded_difference(local.at(place), decoded));
    }
    __device__ __forceinline__ void store(BlockShared&, const CocktailLayout&, int64_t) const {}
};

struct MeanSource {
    const uint8_t* payloads;
    int64_t workers;
    Numbers residual;

    // The workers' values one after the other, so that a sum does not depend on who was first.
    __device__ __forceinline__ void add_payloads(BlockShared& shared, const CocktailLayout& layout) const {
        const uint16_t* places = shared.places(layout.block);
        for (int i = threadIdx.x; i < layout.block; i += COCKTAIL_THREADS) shared.values()[i] = 0.0f;
        for (int64_t worker = 0; worker < workers; ++worker) {
            const BlockReader from(layout, payloads + worker * layout.payload_bytes(), blockIdx.x);
            const int count = read_places(shared, layout, from);
            for (int i = threadIdx.x; i < count; i += COCKTAIL_THREADS) {
                float& sum = shared.values()[places[i]];
                sum = rounded_sum(sum, from.value(layout, i));
            }
            __syncthreads();
        }
    }
    __device__ __forceinline__ void fill(BlockShared& shared, const CocktailLayout& layout, int64_t begin) const {
        add_payloads(shared, layout);
        const float count = static_cast<float>(workers);
        for (int i = threadIdx.x; i < layout.block; i += COCKTAIL_THREADS) {
            float& value = shared.values()[i];
            value = begin + i < layout.numel ? rounded_quotient(value, count) : 0.0f;
            if (residual.data && begin + i < layout.numel) value = rounded_sum(value, residual.at(begin + i));
        }
    }
    __device__ __forceinline__ void sent(int64_t, float& value, float decoded) const {
        value = rounded_difference(value, decoded);
    }
    __device__ __forceinline__ void store(BlockShared& shared, const CocktailLayout& layout, int64_t begin) const {
        store_block(residual, shared, layout, begin);
    }
};

// The block of stratum blockIdx.x.
template <class Source>
__device__ __forceinline__ void compress_block(const Source& source, const CocktailLayout& layout, Draft draft) {
    auto& shared = shared_memory<BlockShared>();
    const int64_t begin = block_of_stratum(shared, layout) * layout.block;
    float* values = shared.values();
    source.fill(shared, layout, begin);
    __syncthreads(); // spare: either way now has one of its own before anybody reads
    if (layout.mask_bytes()) {
        mark_largest(shared, layout);
    } else {
        if (threadIdx.x < MOST_WORDS) shared.masks[threadIdx.x] = ~0u;
        __syncthreads(); // spare: a thread lists its own mask before the next
    }
    list_places(shared, layout);
    const BlockWriter to(layout, draft.payload, blockIdx.x);
    const auto take = [&](int place, float decoded) { source.sent(begin + place, values[place], decoded); };
    const uint64_t sum = write_block(shared, layout, to, take);
    add_for_block(draft.sum(), sum, shared.sums); // with a barrier, after which all is taken
    source.store(shared, layout, begin);
}

static __device__ __forceinline__ void clear_block(const CocktailLayout& layout, uint32_t* payload) {
    const int words = layout.block_bytes() / 4;
    uint32_t* own = payload + COCKTAIL_HEADER_WORDS + blockIdx.x * int64_t(words);
    for (int w = threadIdx.x; w < words; w += COCKTAIL_THREADS) own[w] = 0;
}

// The blocks of the stratum that are not sampled: blockIdx.y is at least 1, and so many share the work.
__device__ __forceinline__ void keep_rest(const GradientSource& source, const CocktailLayout& layout) {
    const int64_t sampled = block_of_stratum(shared_memory<BlockShared>(), layout) * layout.block;
    const int64_t end = stratum_begin(layout, int64_t(blockIdx.x) + 1) * layout.block;
    const int64_t step = int64_t(gridDim.y - 1) * COCKTAIL_THREADS * EIGHT;
    int64_t first = stratum_begin(layout, blockIdx.x) * layout.block;
    first += (int64_t(blockIdx.y - 1) * COCKTAIL_THREADS + threadIdx.x) * EIGHT;
    for (; first < end; first += step)
        if (first < sampled || first >= sampled + layout.block) store_eight(source.residual, first, source.load(first));
}

template <class Source> __global__ void __launch_bounds__(COCKTAIL_THREADS, RESIDENT)
    compress_kernel(Source source, CocktailLayout layout, Draft draft) {
    if (!draft.finite()) {
        if (blockIdx.y == 0) clear_block(layout, draft.payload);
        return;
    }
    if constexpr (std::is_same_v<Source, GradientSource>)
        if (blockIdx.y > 0) return keep_rest(source, layout);
    compress_block(source, layout, draft);
}

// All of a gradient times the scale. The residual is none of it.
static __global__ void __launch_bounds__(COCKTAIL_THREADS) check_gradient_kernel(GradientSource source, Draft draft) {
    const int64_t step = int64_t(gridDim.x) * COCKTAIL_THREADS * EIGHT;
    bool finite = true;
    source.residual.data = nullptr;
    for (int64_t first = (int64_t(blockIdx.x) * COCKTAIL_THREADS + threadIdx.x) * EIGHT; first < source.gradient.numel;
         first += step) {
        const Eight eight = source.load(first);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i)
            finite = finite && (is_finite(eight.at[i]) || first + i >= source.gradient.numel);
    }
    if (!finite) draft.say_not_finite();
}

// Of the differences only those that are sampled.
static __global__ void __launch_bounds__(COCKTAIL_THREADS)
    check_delta_kernel(DeltaSource source, CocktailLayout layout, Draft draft) {
    const int64_t begin = block_of_stratum(shared_memory<BlockShared>(), layout) * layout.block;
    bool finite = true;
    for (int first = threadIdx.x * EIGHT; first < layout.block; first += COCKTAIL_THREADS * EIGHT) {
        const Eight eight = source.load(begin + first);
#pragma unroll
        for (const float value : eight.at) finite = finite && is_finite(value);
    }
    if (!finite) draft.say_not_finite();
}

// Of payloads their flags.
static __global__ void __launch_bounds__(COCKTAIL_THREADS)
    check_payloads_kernel(MeanSource source, CocktailLayout layout, Draft draft) {
    for (int64_t worker = threadIdx.x; worker < source.workers; worker += COCKTAIL_THREADS)
        if (source.payloads[worker * layout.payload_bytes() + COCKTAIL_FLAGS_AT] & COCKTAIL_NOT_FINITE)
            draft.say_not_finite();
}

// One warp.
static __global__ void __launch_bounds__(32) header_kernel(CocktailLayout layout, Draft draft) {
    const int lane = threadIdx.x;
    const uint32_t flags = draft.finite() ? 0 : COCKTAIL_NOT_FINITE;
    uint64_t sum = lane == 0 ? *draft.sum() : 0;
    __syncwarp();
    const uint32_t word = lane < COCKTAIL_HEADER_WORDS ? header_word(layout, flags, lane) : 0;
    sum = over_warp(sum + word * checksum_weight(lane), [](uint64_t a, uint64_t b) { return a + b; });
    if (lane < COCKTAIL_HEADER_WORDS)
        draft.payload[lane] = lane == COCKTAIL_HEADER_WORDS - 1 ? uint32_t(sum >> 32) : word;
}
} // namespace gpu
