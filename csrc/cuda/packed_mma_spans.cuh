// What a lane loads of its two rows, spans in turn, some of them before they are needed: registers hold them. Free of
// torch.
#pragma once
#include "packed_mma_grids.cuh"

namespace gpu {
// WORDS: of a row and a span. A source has load(i, span, words), of the lane's i-th row; span: from the first of the
// next tile on, which at the beginning is the first tile.
template <int WORDS, int AHEAD> class SpansAhead {
  public:
    // Spans of tiles `begin` to `end` - 1.
    __device__ __forceinline__ SpansAhead(const Packed& weight, int begin, int end) {
        const int all = weight.width / SPAN, last = end * TILE_SPANS;
        left = (last < all ? last : all) - begin * TILE_SPANS;
    }
    template <class Source> __device__ __forceinline__ void begin(const Source& source) {
#pragma unroll
        for (int place = 0; place < AHEAD; ++place) bring(place, place, source);
    }

    // `span`: of its tile.
    template <class Source> __device__ __forceinline__ void open(int span, const Source& source) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int w = 0; w < WORDS; ++w) opened[i][w] = pinned(brought[span % AHEAD][i][w]);
        bring(span % AHEAD, span + AHEAD - TILE_SPANS, source);
    }
    __device__ __forceinline__ const uint32_t (&of_row(int i) const)[WORDS] { return opened[i]; }

  private:
    template <class Source> __device__ __forceinline__ void bring(int place, int span, const Source& source) {
        if (left-- <= 0) return;
#pragma unroll
        for (int i = 0; i < 2; ++i) source.load(i, span, brought[place][i]);
    }

    int left; // that are not yet loaded
    uint32_t opened[2][WORDS], brought[AHEAD][2][WORDS] = {};
};

// COUNT words, EACH of them at once.
template <int COUNT, int EACH> __device__ __forceinline__ void load_words(const uint8_t* from, uint32_t* to) {
#pragma unroll
    for (int w = 0; w < COUNT; w += EACH) {
        const auto some = load_wide<Vector<uint32_t, EACH>>(from + 4 * w);
#pragma unroll
        for (int part = 0; part < EACH; ++part) to[w + part] = some.part[part];
    }
}
} // namespace gpu
