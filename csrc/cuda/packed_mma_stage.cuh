// Masks and entries of sixteen rows of a packed weight, brought to shared memory by a warp that makes operands of
// tensor cores of them, lanes having rows and columns as in packed_mma_grids.cuh: of a span each a word of a mask.
// Whatever mask and starts say, nothing outside of the parts is read: where they contradict each other a row is
// damaged. Free of torch.
#pragma once
#include "packed_mma_grids.cuh"

namespace gpu {
// A word of a mask, and where shared memory has its first entry.
struct PlacedWord {
    uint32_t mask, bit;
};

// Of a tile of one or two spans. What is read at once of several rows lies in different banks: by the stride of the
// entries, and for words since every other two rows have them in another order.
template <int BITS, int SPANS> struct RowsStage {
    static constexpr int COLUMNS = SPANS * SPAN, WORDS = COLUMNS / 32;
    // The first entry has less than 16 bytes before it; codes of 3 bits are read up to a word behind the last.
    static constexpr int ROW_BYTES = COLUMNS * BITS / 8 + (BITS == 3 ? 48 : 16);
    static_assert(ROW_BYTES / 16 % 2 == 1);
    alignas(64) PlacedWord placed[MMA_ROWS][WORDS];
    alignas(16) uint8_t entries[MMA_ROWS][ROW_BYTES];

    __device__ __forceinline__ static int turned(int row, int word) {
        return word ^ row / 2 % 2 * (SPANS == 1 ? 0 : 6);
    }
};

// Entries of BITS bits, and a table by which they are spread over their columns.
template <int BITS, int SPANS, class Table> class MaskedTiles {
    using Stage = RowsStage<BITS, SPANS>;

  public:
    static constexpr bool PAIRS_OF_FOUR = false;
    struct Shared {
        Table table;
        uint32_t counts[MMA_WARPS][MMA_ROWS];
        Stage stages[MMA_WARPS][2];
    };

    // Rows `first` and on; tiles `begin` to `end` - 1, those of part `part`, which warps follow each other for. All
    // warps of the block must come here. The first tile is brought first.
    __device__ __forceinline__ MaskedTiles(const Packed& weight, Shared& shared, int64_t first, int begin, int end,
                                           int part)
        : weight(weight), shared(shared), warp(threadIdx.x / 32), lane(threadIdx.x % 32), end(end) {
        const int64_t row = weight.row_or_last(first + lane / 2), start = weight.starts[row];
        shared.table.fill();
        bytes = weight.bitmask + row * weight.mask_bytes() + lane % 2 * (MASK_BYTES / 2) + begin * MASK_BYTES;
        const int64_t all = weight.entries_bytes * 8 / BITS;
        const bool inside = 0 <= start && start <= all;
        left = inside ? int(all - start < MOST_LEFT ? all - start : MOST_LEFT) : -1;
        from = weight.entries;
        offset = 0;
        skip(inside ? start * BITS : 0);
        half = pinned(lane % 2 * 16);
        own_end = int(weight.width / SPAN + SPANS - 1 - lane % 2 * (SPANS / 2)) / SPANS;
        const auto& stage = shared.stages[warp][0];
        own_placed = pinned(place_of(stage.placed[lane / 2] + Stage::turned(lane / 2, lane % 2 * OWN)));
        own_entries = pinned(place_of(stage.entries[lane / 2]));
        opened_first = pinned(place_of(stage.placed[lane / 4] + Stage::turned(lane / 4, lane % 4)));
        count_parts_before(begin, part);
        from += half;
        fetch(begin);
    }

    // The fetched tile's masks and entries, to the stage, where they are after arrive_copies and a barrier. Then the
    // next tile is fetched.
    __device__ __forceinline__ void bring(int tile) {
        const uint32_t own = count_fetched(), other = __shfl_xor_sync(ALL_LANES, own, 1);
        const uint32_t before = half ? other : 0, count = own + other;
        left -= int(count); // below 0 it stays there, and copy_entries looks at every byte
        const uint32_t buffer = uint32_t(tile) % 2 * sizeof(Stage);
        uint32_t bit = (own_entries + buffer) * 8 + offset + before * BITS;
#pragma unroll
        for (int w = 0; w < OWN; w += 2) { // neighbours stay neighbours
            auto* placed = at<PlacedWord>((own_placed + buffer) ^ w * sizeof(PlacedWord));
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                placed[k] = {fetched.part[w + k], bit};
                bit += __popc(fetched.part[w + k]) * BITS;
            }
        }
        const uint32_t bits = offset + count * BITS;
        copy_entries(int((bits + 7) / 8 - half), at<uint8_t>(own_entries + half + buffer));
        from += bits / 128 * 16;
        offset = bits % 128;
        if (tile + 1 < end) fetch(tile + 1);
    }

    __device__ __forceinline__ void open(int tile) { opened = opened_first + uint32_t(tile) % 2 * sizeof(Stage); }
    __device__ __forceinline__ void open_span(int span) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
            placed[i] = at<PlacedWord>(opened ^ span * (SPAN / 32 * sizeof(PlacedWord)))[i * 8 * Stage::WORDS];
    }

    // Whether the lane's i-th row is. The whole warp.
    __device__ __forceinline__ bool damaged(int i) const {
        return __ballot_sync(ALL_LANES, left < 0) >> (lane / 4 * 2 + 16 * i) & 3;
    }

  protected:
    // Shared memory by bytes; the table is first.
    template <class Value> __device__ __forceinline__ Value* at(uint32_t byte) const {
        return reinterpret_cast<Value*>(reinterpret_cast<uint8_t*>(&shared) + byte);
    }

    PlacedWord placed[2]; // of the lane's rows: the word, and where its next entry is

  private:
    static constexpr int OWN = Stage::WORDS / 2; // words of a tile of a lane: two lanes bring a row
    static constexpr int MASK_BYTES = Stage::COLUMNS / 8;
    static constexpr int MOST_LEFT = 1 << 30; // more than a row has columns

    __device__ __forceinline__ uint32_t place_of(const void* part) const {
        return uint32_t(static_cast<const uint8_t*>(part) - reinterpret_cast<uint8_t*>(&shared));
    }

    // Lets the next entry be so many bits later. `from` stays at a boundary of 16 bytes.
    __device__ __forceinline__ void skip(int64_t bits) {
        const auto bit = offset + uint64_t(bits);
        from += bit / 128 * 16;
        offset = uint32_t(bit % 128);
    }

    // Early, since it takes long until they are here. Tiles in turn; of spans that the weight lacks no bit is set.
    __device__ __forceinline__ void fetch(int tile) {
        fetched = {};
        if (SPANS == 1 || tile < own_end) fetched = load_wide<Vector<uint32_t, OWN>>(bytes);
        bytes += MASK_BYTES;
    }
    __device__ __forceinline__ uint32_t count_fetched() const {
        uint32_t count = 0;
#pragma unroll
        for (int w = 0; w < OWN; ++w) count += __popc(fetched.part[w]);
        return count;
    }

    // Every part counts its own columns, then skips those of the parts before.
    __device__ __forceinline__ void count_parts_before(int begin, int part) {
        uint32_t count = 0;
#pragma unroll 2
        for (int tile = begin; tile < end; ++tile) {
            fetch(tile);
            count += count_fetched();
        }
        bytes -= (end - begin) * MASK_BYTES;
        count += __shfl_xor_sync(ALL_LANES, count, 1);
        if (lane % 2 == 0) shared.counts[warp][lane / 2] = count; // either lane has the same
        __syncthreads();                                          // it shows the table, too
#pragma unroll 1
        for (int before = warp - part; before < warp; ++before) {
            const uint32_t skipped = shared.counts[before][lane / 2];
            left -= int(skipped);
            skip(skipped * BITS);
        }
    }

    // The lane's of `count` bytes from its own first on, but what lies outside of the entries.
    __device__ __forceinline__ void copy_entries(int count, uint8_t* to) const {
        constexpr int ENOUGH = (Stage::ROW_BYTES + 16) * 8 / BITS; // behind them nothing is outside
        if (left >= ENOUGH) {
            constexpr int USUAL = (Stage::COLUMNS * BITS / 16 + 31) / 32 * 32 + 32; // of a mask with half of its bits
            copy_16_bytes(to, from); // also where there is nothing to copy
#pragma unroll
            for (int k = 32; k < USUAL; k += 32)
                if (k < count) copy_16_bytes(to + k, from + k);
            if (count <= USUAL) return;
#pragma unroll
            for (int k = USUAL; k + 16 <= Stage::ROW_BYTES; k += 32)
                if (k < count) copy_16_bytes(to + k, from + k);
            return;
        }
        const uint8_t* limit = weight.entries + weight.entries_bytes;
#pragma unroll 1
        for (int k = 0; k < count; k += k % 16 == 15 ? 17 : 1)
            if (from + k < limit) to[k] = from[k];
    }

    const Packed& weight;
    Shared& shared;
    int warp, lane, end, own_end; // own_end: tiles in which the lane has columns
    uint32_t half;                // 16 for the second of two lanes: each has every other 16 bytes of a row
    const uint8_t* bytes;         // of the mask of the row that the lane brings, those that are fetched next
    const uint8_t* from;          // what it copies next; the row's next entry is `offset` bits after the first lane's
    uint32_t offset;
    int left; // how many entries there are at most, or MOST_LEFT; below 0: too few
    Vector<uint32_t, OWN> fetched;
    uint32_t own_placed, own_entries, opened_first, opened; // places in shared memory; of the first buffer, but opened
};
} // namespace gpu
