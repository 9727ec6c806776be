// What CocktailSGD's ops launch: two kernels a compression, nothing waits for the GPU. Free of torch.
#pragma once
#include "cocktail.cuh"

namespace gpu {
constexpr float NOT_A_NUMBER = __builtin_nanf("");

// out += scale * what the payload decodes to; blockIdx.x the stratum.
static __global__ void __launch_bounds__(COCKTAIL_THREADS)
    add_payload_kernel(const uint8_t* payload, Numbers out, CocktailLayout layout, float scale) {
    auto& shared = shared_memory<BlockShared>();
    if (payload[COCKTAIL_FLAGS_AT] & COCKTAIL_NOT_FINITE) {
        const int64_t last = stratum_begin(layout, int64_t(blockIdx.x) + 1) * layout.block;
        const int64_t end = last < layout.numel ? last : layout.numel;
        for (int64_t i = stratum_begin(layout, blockIdx.x) * layout.block + threadIdx.x; i < end; i += COCKTAIL_THREADS)
            out.put(i, NOT_A_NUMBER);
        return;
    }
    const int64_t begin = block_of_stratum(shared.block, layout, blockIdx.x) * layout.block;
    const BlockReader from(layout, payload, blockIdx.x);
    const int count = read_places(shared, layout, from);
    for (int i = threadIdx.x; i < count; i += COCKTAIL_THREADS) {
        const int64_t place = begin + shared.places(layout.block)[i];
        if (place < layout.numel)
            out.put(place, rounded_sum(out.at(place), rounded_product(scale, from.value(layout, i))));
    }
}

// The sum of all words but the checksum's own, added to *sum.
static __global__ void __launch_bounds__(COCKTAIL_THREADS)
    checksum_kernel(const uint8_t* payload, int64_t words, unsigned long long* sum) {
    uint64_t own = 0;
    const int64_t step = int64_t(gridDim.x) * COCKTAIL_THREADS;
    for (int64_t w = int64_t(blockIdx.x) * COCKTAIL_THREADS + threadIdx.x; w < words; w += step)
        if (w != COCKTAIL_HEADER_WORDS - 1) own += load_words<1>(payload + 4 * w, 4).word[0] * checksum_weight(w);
    add_for_block(sum, own, shared_memory<BlockShared>().sums);
}

static __global__ void upper_half_kernel(unsigned long long* sum) {
    if (threadIdx.x == 0) *sum >>= 32;
}

inline size_t cocktail_shared(const CocktailLayout& layout) { return BlockShared::bytes(layout.block); }

// `pieces` thread blocks a stratum for what is not sampled.
template <class Source>
void compress_blocks(const Source& source, const CocktailLayout& layout, int64_t pieces, Draft draft, Stream stream) {
    launch(compress_kernel<Source>, dim3(unsigned(layout.sampled * (1 + pieces))), COCKTAIL_THREADS,
           cocktail_shared(layout), stream, source, layout, unsigned(pieces), draft);
}

inline int64_t at_most(int64_t count, int64_t most) { return count < most ? count : most; }

// Thread blocks for what lies between the sampled blocks, a stratum.
inline int64_t pieces_between(const CocktailLayout& layout) {
    const int64_t largest = ceil_div(layout.blocks(), layout.sampled) - 1;
    return at_most(ceil_div(largest * layout.block, TILES_PER_PIECE * TILE), MOST_PIECES);
}

// The payload's header is zero, here and in the next two.
inline void compress(const GradientSource& source, const CocktailLayout& layout, uint32_t* payload, Stream stream) {
    launch(check_gradient_kernel, dim3(unsigned(ceil_div(layout.numel, TILES_PER_CHECK * TILE))), COCKTAIL_THREADS,
           size_t(0), stream, source, Draft{payload});
    compress_blocks(source, layout, source.residual.data ? pieces_between(layout) : 0, {payload}, stream);
}

inline void compress(const DeltaSource& source, const CocktailLayout& layout, uint32_t* payload, Stream stream) {
    launch(check_delta_kernel, dim3(unsigned(layout.sampled)), COCKTAIL_THREADS, sizeof(int64_t), stream, source,
           layout, Draft{payload});
    compress_blocks(source, layout, 0, {payload}, stream);
}

inline void compress(const MeanSource& source, const CocktailLayout& layout, uint32_t* payload, Stream stream) {
    launch(check_payloads_kernel, dim3(1), COCKTAIL_THREADS, size_t(0), stream, source, layout, Draft{payload});
    compress_blocks(source, layout, 0, {payload}, stream);
}

inline void add_payload(const uint8_t* payload, const Numbers& out, const CocktailLayout& layout, float scale,
                        Stream stream) {
    launch(add_payload_kernel, dim3(unsigned(layout.sampled)), COCKTAIL_THREADS, cocktail_shared(layout), stream,
           payload, out, layout, scale);
}

// *sum is zero at first.
inline void checksum(const uint8_t* payload, int64_t bytes, unsigned long long* sum, Stream stream) {
    const int64_t blocks = at_most(ceil_div(bytes / 4, WORDS_PER_BLOCK), MOST_SUMMING);
    launch(checksum_kernel, dim3(unsigned(blocks)), COCKTAIL_THREADS, sizeof(BlockShared), stream, payload, bytes / 4,
           sum);
    launch(upper_half_kernel, dim3(1), 32, size_t(0), stream, sum);
}
} // namespace gpu
