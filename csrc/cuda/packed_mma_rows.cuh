// Sixteen rows of a packed weight as operands of tensor cores, read by a warp. Lane l, with g = l / 4 and t = l % 4,
// has rows g and g + 8, and of every 128 columns numbers 32t to 32t + 31, a word of a mask. Whatever mask and starts
// say, nothing outside of the parts is read: where they contradict each other a row is damaged. Free of torch.
#pragma once
#include "packed_spread.cuh"

namespace gpu {
constexpr int MMA_ROWS = 16, MMA_TOKENS = 8; // of a product
constexpr int SPAN = 128;                    // columns that a quad of lanes has at a time
constexpr int MMA_TILE = 256;                // columns that a warp brings at a time
constexpr int MMA_THREADS = 256, MMA_WARPS = MMA_THREADS / 32;
constexpr uint32_t WHOLE = 0xffffffffu;

// A word of a mask, and where the stage has its first entry.
struct PlacedWord {
    uint32_t mask, bit;
};

// Of a tile of a warp. The strides keep rows that are read at once in different banks.
template <int BITS> struct RowsStage {
    static constexpr int WORDS = MMA_TILE / 32, ROW_BYTES = MMA_TILE * BITS / 8 + 48;
    static_assert(ROW_BYTES / 16 % 2 == 1);
    alignas(16) PlacedWord placed[MMA_ROWS][WORDS + 4];
    alignas(16) uint8_t entries[MMA_ROWS][ROW_BYTES];
};

// Some columns have an entry: those of a bitmask.
template <int BITS> class MaskedRows {
    using Stage = RowsStage<BITS>;

  public:
    static constexpr bool PAIRS_OF_FOUR = false;
    struct Shared {
        Selectors selectors;
        uint32_t counts[MMA_WARPS][MMA_ROWS];
        Stage stages[MMA_WARPS][2];
    };

    // Rows `first` and on; tiles `begin` to `end` - 1, those of part `part`, which warps follow each other for. All
    // warps of the block must come here.
    __device__ __forceinline__ MaskedRows(const Packed& weight, Shared& shared, int64_t first, int begin, int end,
                                          int part)
        : weight(weight), shared(shared), warp(threadIdx.x / 32), lane(threadIdx.x % 32), end(end) {
        for (int i = threadIdx.x; i < 256; i += MMA_THREADS) shared.selectors.of_mask[i] = SELECTORS.of_mask[i];
        const int64_t own = first + lane / 2, row = own < weight.rows ? own : weight.rows - 1;
        bytes = weight.bitmask + row * weight.mask_bytes();
        wide = weight.width % SPAN == 0 && aligned_for<Vector<uint32_t, 4>>(weight.bitmask);
        const int64_t all = weight.entries_bytes * 8 / BITS, start = weight.starts[row];
        left = 0 <= start && start <= all ? all - start : -1;
        next = left < 0 ? 0 : start * BITS;
        count_parts_before(begin, part);
        fetch(begin);
        bring(begin);
    }

    // After this the tile's pairs can be asked for.
    __device__ __forceinline__ void open(int tile) {
        arrive_copies();
        __syncwarp(); // the next tile is brought to where the one before has been read
        opened = &shared.stages[warp][tile % 2];
        if (tile + 1 < end) bring(tile + 1);
    }
    __device__ __forceinline__ void open_span(int span) {
#pragma unroll
        for (int i = 0; i < 2; ++i) placed[i] = opened->placed[lane / 4 + 8 * i][span % 2 * 4 + lane % 4];
    }

    // The next 16 columns of the lane's rows: pairs[unit of eight columns][row]; last[row]: the zero as an eighth code
    template <class Scalar>
    __device__ __forceinline__ void take(const uint32_t (&last)[2], uint32_t (&pairs)[2][2][4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            PlacedWord& word = placed[i];
            const uint32_t masks[2] = {word.mask & 0xff, word.mask >> 8 & 0xff};
            const auto* from = reinterpret_cast<const uint32_t*>(opened->entries) + (word.bit >> 5);
            const uint32_t low = __funnelshift_r(from[0], from[1], word.bit),
                           high = BITS > 2 ? __funnelshift_r(from[1], from[2], word.bit) : 0;
            const uint32_t count = __popc(masks[0]);
            const uint32_t codes[2] = {low, __funnelshift_rc(low, high, count * BITS)};
#pragma unroll
            for (int u = 0; u < 2; ++u)
                spread_nibbles<Scalar>(nibbles_of<BITS>(codes[u]), masks[u] == 0xff, selectors_of(masks[u]), last[i],
                                       pairs[u][i]);
            word.bit += (count + __popc(masks[1])) * BITS;
            word.mask >>= 16;
        }
    }

    // Bit g + 8i of all lanes alike: whether the i-th row of lanes 4g and on is damaged.
    __device__ __forceinline__ bool damaged(int i) const {
        return __ballot_sync(ALL_LANES, left < 0 || stray) >> (lane / 4 * 2 + 16 * i) & 3;
    }

  private:
    static constexpr int OWN = Stage::WORDS / 2; // words of a tile of a lane: two lanes bring a row

    __device__ __forceinline__ uint32_t selectors_of(uint32_t mask) const { return shared.selectors.of_mask[mask]; }
    __device__ __forceinline__ int first_word(int tile) const { return tile * Stage::WORDS + lane % 2 * OWN; }

    // Early, since it takes long until they are here.
    __device__ __forceinline__ void fetch(int tile) {
        const int first = 4 * first_word(tile), count = int(weight.mask_bytes());
        if (wide) {
            if (first < count)
                fetched = load_wide<Vector<uint32_t, 4>>(bytes + first);
            else
                fetched = {};
            return;
        }
#pragma unroll
        for (int w = 0; w < OWN; ++w) {
            fetched.part[w] = 0;
#pragma unroll 1
            for (int b = 0; b < 4; ++b)
                if (first + 4 * w + b < count) fetched.part[w] |= uint32_t(bytes[first + 4 * w + b]) << 8 * b;
        }
    }

    // What was fetched of a tile without bits after the last column, which there must not be.
    __device__ __forceinline__ void clean(int tile) {
        if (wide) return;
#pragma unroll
        for (int w = 0; w < OWN; ++w) {
            const int columns = weight.width - 32 * (first_word(tile) + w);
            const uint32_t inside = columns >= 32 ? WHOLE : columns <= 0 ? 0 : (1u << columns) - 1;
            stray |= fetched.part[w] & ~inside;
            fetched.part[w] &= inside;
        }
    }

    // Of the lanes that have the row.
    __device__ __forceinline__ uint32_t count_row(uint32_t own) const {
        return own + __shfl_xor_sync(ALL_LANES, own, 1);
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
            clean(tile);
            count += count_fetched();
        }
        shared.counts[warp][lane / 2] = count_row(count); // either lane the same
        __syncthreads();
        for (int before = warp - part; before < warp; ++before) {
            left -= shared.counts[before][lane / 2];
            next += int64_t(shared.counts[before][lane / 2]) * BITS;
        }
    }

    // The fetched tile's masks and entries, to the stage; then fetches the tile after it.
    __device__ __forceinline__ void bring(int tile) {
        Stage& stage = shared.stages[warp][tile % 2];
        clean(tile);
        const int row = lane / 2;
        const uint32_t own = count_fetched(), other = __shfl_xor_sync(ALL_LANES, own, 1), count = own + other;
        if (left < int64_t(count)) left = -1; // nothing of the row from here on; both lanes know
        const auto* from = weight.entries + (left < 0 ? 0 : next / 8);
        const int inside = int(reinterpret_cast<uintptr_t>(from) % 16), within = int(next % 8);
        uint32_t bit = uint32_t(row * Stage::ROW_BYTES + inside) * 8 + within + (lane % 2 ? other * BITS : 0);
#pragma unroll
        for (int w = 0; w < OWN; ++w) {
            const uint32_t mask = left < 0 ? 0 : fetched.part[w];
            stage.placed[row][lane % 2 * OWN + w] = {mask, left < 0 ? 0 : bit};
            bit += __popc(mask) * BITS;
        }
        if (left >= 0) {
            copy_entries(from - inside, inside + (within + int(count) * BITS + 7) / 8, stage.entries[row]);
            next += int64_t(count) * BITS;
            left -= count;
        }
        if (tile + 1 < end) fetch(tile + 1);
    }

    // From a boundary of 16 bytes on; what lies outside of the entries is left out.
    __device__ __forceinline__ void copy_entries(const uint8_t* from, int count, uint8_t* to) const {
        const auto* begin = weight.entries;
        const auto* limit = begin + weight.entries_bytes;
        for (int at = lane % 2 * 16; at < count; at += 32) {
            if (begin <= from + at && from + at + 16 <= limit) {
                copy_16_bytes(to + at, from + at);
                continue;
            }
#pragma unroll 1
            for (int b = at; b < at + 16; ++b)
                if (begin <= from + b && from + b < limit) to[b] = from[b];
        }
    }

    const Packed& weight;
    Shared& shared;
    const Stage* opened = nullptr;
    int warp, lane, end;
    bool wide;            // whether masks can be loaded 16 bytes at a time; then none goes on after the last column
    const uint8_t* bytes; // of the mask of the row that the lane brings
    int64_t next, left;   // next: bit of its next entry; left: how many there are at most, -1: too few
    uint32_t stray = 0;   // bits after the last column
    Vector<uint32_t, 4> fetched;
    PlacedWord placed[2]; // what is left of the lane's words
};
} // namespace gpu
