// What is compressed: a gradient and what was not sent of those before, the way from one model to another, or the mean
// of payloads. fill() puts a block of it into shared memory, sent() takes away what goes, and store() keeps the rest.
// Free of torch.
#pragma once
#include "cocktail_encode.cuh"
#include "cocktail_largest.cuh"

namespace gpu {
struct RawPair {
    RawFour own, other;
};

// body(first, four) for the fours of a block, several of each tensor under way at once; ONCE: nobody reads them again.
template <bool ONCE, class Source, class Body> __device__ __forceinline__ void
each_four(const Source& source, const CocktailLayout& layout, int64_t begin, const Body& body) {
    for (int start = threadIdx.x * FOUR; start < layout.block; start += TILE) {
        RawPair raw[IN_FLIGHT];
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j)
            if (start + j * STRIDE < layout.block) raw[j] = source.template load<ONCE>(begin + start + j * STRIDE);
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j)
            if (start + j * STRIDE < layout.block) body(start + j * STRIDE, source.value(raw[j]));
    }
}

template <class Source> __device__ __forceinline__ void load_block(const Source& source, BlockShared& shared,
                                                                   const CocktailLayout& layout, int64_t begin) {
    each_four<true>(source, layout, begin,
                    [&](int first, const Four& four) { *reinterpret_cast<Four*>(shared.values() + first) = four; });
}

__device__ __forceinline__ void store_block(const Numbers& to, BlockShared& shared, const CocktailLayout& layout,
                                            int64_t begin) {
    if (!to.data) return;
    for (int first = threadIdx.x * FOUR; first < layout.block; first += STRIDE)
        store_four(to, begin + first, *reinterpret_cast<const Four*>(shared.values() + first));
}

__device__ __forceinline__ uint32_t largest_bits(const Four& four, uint32_t most) {
#pragma unroll
    for (const float value : four.at) most = magnitude_bits(value) > most ? magnitude_bits(value) : most;
    return most;
}

struct GradientSource {
    Numbers gradient, residual;
    float scale;

    template <bool ONCE = true> __device__ __forceinline__ RawPair load(int64_t first) const {
        return {load_raw<ONCE>(gradient, first), residual.data ? load_raw<ONCE>(residual, first) : RawFour{}};
    }
    __device__ __forceinline__ Four scaled(const RawFour& raw) const {
        Four four = widened(raw, gradient.number);
#pragma unroll
        for (float& value : four.at) value = rounded_product(value, scale);
        return four;
    }
    __device__ __forceinline__ Four value(const RawPair& raw) const {
        Four sum = scaled(raw.own);
        if (!residual.data) return sum;
        const Four kept = widened(raw.other, residual.number);
#pragma unroll
        for (int i = 0; i < FOUR; ++i) sum.at[i] = rounded_sum(sum.at[i], kept.at[i]);
        return sum;
    }
    __device__ __forceinline__ void fill(BlockShared& shared, const CocktailLayout& layout, int64_t,
                                         int64_t begin) const {
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

    // What is sent is taken away where the local model lies: it is read again.
    template <bool ONCE> __device__ __forceinline__ RawPair load(int64_t first) const {
        return {load_raw<false>(local, first), load_raw<ONCE>(other_model, first)};
    }
    __device__ __forceinline__ Four value(const RawPair& raw) const {
        Four difference = widened(raw.own, local.number);
        const Four other = widened(raw.other, other_model.number);
#pragma unroll
        for (int i = 0; i < FOUR; ++i) difference.at[i] = rounded_difference(difference.at[i], other.at[i]);
        return difference;
    }
    __device__ __forceinline__ void fill(BlockShared& shared, const CocktailLayout& layout, int64_t,
                                         int64_t begin) const {
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
    __device__ __forceinline__ void add_payloads(BlockShared& shared, const CocktailLayout& layout,
                                                 int64_t stratum) const {
        const uint16_t* places = shared.places(layout.block);
        for (int i = threadIdx.x; i < layout.block; i += COCKTAIL_THREADS) shared.values()[i] = 0.0f;
        for (int64_t worker = 0; worker < workers; ++worker) {
            const BlockReader from(layout, payloads + worker * layout.payload_bytes(), stratum);
            const int count = read_places(shared, layout, from);
            for (int i = threadIdx.x; i < count; i += COCKTAIL_THREADS) {
                float& sum = shared.values()[places[i]];
                sum = rounded_sum(sum, from.value(layout, i));
            }
            __syncthreads();
        }
    }
    __device__ __forceinline__ void fill(BlockShared& shared, const CocktailLayout& layout, int64_t stratum,
                                         int64_t begin) const {
        add_payloads(shared, layout, stratum);
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
} // namespace gpu
