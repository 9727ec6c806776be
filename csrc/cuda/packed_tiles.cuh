// A tile of a row of a packed weight, read by a warp: codes of all columns straight, entries of some of them by way of
// shared memory. Whatever mask, starts and places say, nothing outside of the parts is read: where they contradict each
// other weights are NaN. Free of torch.
#pragma once
#include "packed_chunks.cuh"

namespace gpu {
// Lane l holds chunks l, 32 + l, 64 + l ... of a tile: what the lanes of a warp read at once is contiguous.
__device__ __forceinline__ int chunk_of(int tile, int k) {
    return (tile * TILE_CHUNKS + k) * 32 + int(threadIdx.x % 32);
}

// Every column has a code.
template <int BITS, bool REGULAR> class AllColumns {
  public:
    __device__ AllColumns(const Packed& weight, int64_t row, int, uint8_t*)
        : weight(weight), grids(weight, row), first(uint32_t(row * (weight.row_bytes / 4))) {}

    __device__ __forceinline__ void open(int tile, int) {
        this->tile = tile;
#pragma unroll
        for (int k = 0; k < TILE_CHUNKS; ++k) windows[k] = window_of(own(k));
        if (REGULAR) grids.fetch(weight, tile);
    }

    // After every row has been opened: what was loaded is looked at.
    __device__ __forceinline__ void arrive() {
        if (REGULAR) grids.arrive(weight);
    }

    // The lane's next chunk, the k-th; after the last column it repeats the last chunk.
    __device__ __forceinline__ Chunk chunk(int k) {
        const Window<BITS> codes = windows[0];
#pragma unroll
        for (int i = 1; i < TILE_CHUNKS; ++i) windows[i - 1] = windows[i]; // registers have no index
        return scaled_codes<REGULAR>(weight, grids, k, own(k) * CHUNK, 0xff,
                                     [&](float offset, float (&to)[CHUNK]) { spread_all<BITS>(codes, offset, to); });
    }

  private:
    __device__ __forceinline__ int own(int k) const {
        const int chunk = chunk_of(tile, k), last = weight.chunks - 1;
        return chunk < last ? chunk : last;
    }

    // A row is whole words: past the last, that one again.
    __device__ __forceinline__ uint32_t word_at(int word) const {
        const int last = int(weight.row_bytes / 4) - 1;
        const uint8_t* from = weight.entries + 4 * int64_t(first + uint32_t(word < last ? word : last));
        if (REGULAR || aligned_for<uint32_t>(from)) return load_wide<uint32_t>(from);
        return from[0] | from[1] << 8 | from[2] << 16 | uint32_t(from[3]) << 24;
    }

    __device__ __forceinline__ Window<BITS> window_of(int chunk) const {
        const int byte = chunk * BITS, shift = byte % 4 * 8;
        if constexpr (BITS == 2) return word_at(byte / 4) >> shift;
        if constexpr (BITS == 4) return word_at(byte / 4);
        const uint64_t both = word_at(byte / 4) | uint64_t(word_at(byte / 4 + 1)) << 32;
        return Window<BITS>(both >> shift);
    }

    const Packed& weight;
    RowGrids grids;
    uint32_t first; // word of the row
    int tile = 0;
    Window<BITS> windows[TILE_CHUNKS];
};

// `bytes` bytes from `from` on, inside of the entries, to shared memory, 16 bytes at a time but at either end of all
// entries. They keep their place between two boundaries of 16 bytes; returns it.
__device__ __forceinline__ int stage_entries(const Packed& weight, const uint8_t* from, int bytes, uint8_t* to) {
    using Wide = Vector<uint32_t, 4>;
    const auto place = reinterpret_cast<uintptr_t>(from), begin = reinterpret_cast<uintptr_t>(weight.entries);
    const uintptr_t first = place / 16 * 16, end = begin + weight.entries_bytes;
    for (int offset = threadIdx.x % 32 * 16; first + offset < place + bytes; offset += 32 * 16) {
        const uintptr_t source = first + offset;
        if (begin <= source && source + 16 <= end) {
            *reinterpret_cast<Wide*>(to + offset) = load_wide<Wide>(reinterpret_cast<const void*>(source));
            continue;
        }
#pragma unroll 1
        for (int b = 0; b < 16; ++b)
            if (begin <= source + b && source + b < end) to[offset + b] = *reinterpret_cast<const uint8_t*>(source + b);
    }
    return int(place - first);
}

// Some columns have an entry: those of a bitmask, or of places. BITS: of a code at
// most; 0 for values.
template <int BITS, bool REGULAR> class SomeColumns {
  public:
    // `first`: the tile that is opened first, and after it the next one
    __device__ SomeColumns(const Packed& weight, int64_t row, int first, uint8_t* stage)
        : weight(weight), grids(weight, row), stage(stage) {
        int64_t begin = 0; // the row's first entry
        if (weight.bitmask) {
            bytes = weight.bitmask + row * weight.mask_bytes();
            begin = weight.starts[row];
            left = weight.entries_bytes * 8 / weight.entry_bits();
        } else {
            bytes = weight.indices + row * weight.index_bytes;
            left = weight.kept_of_row();
        }
        const bool regular = !weight.bitmask && TILE % weight.group == 0;
        const int64_t before = regular ? int64_t(first) * TILE / weight.group * weight.keep : count_before(first);
        left = 0 <= begin && begin <= left ? left - begin - before : -1;
        next = 8 * row * weight.row_bytes + (left < 0 ? 0 : (begin + before) * weight.entry_bits());
        fetch(first);
    }

    // The whole warp; the next fetch is for the tile after it, if that is before `end`.
    __device__ __forceinline__ void open(int tile, int end) {
        this->tile = tile;
        masks = 0;
        if (REGULAR && BITS > 0) grids.fetch(weight, tile);
        uint32_t counts[2] = {0, 0}, sums[2], totals[2]; // of two chunks each, in 16 bits each
        if (bytes_by_chunk()) {
#pragma unroll
            for (int k = 0; k < TILE_CHUNKS; ++k) masks |= mask_of_byte(chunk_of(tile, k), fetched[k], fits) << 8 * k;
            if (tile + 1 < end) fetch(tile + 1);
        } else {
#pragma unroll 1
            for (int k = 0; k < TILE_CHUNKS; ++k) masks |= mask_of_chunk(chunk_of(tile, k), fits) << 8 * k;
        }
#pragma unroll
        for (int k = 0; k < TILE_CHUNKS; ++k) counts[k / 2] |= uint32_t(__popc(masks & 0xffu << 8 * k)) << k % 2 * 16;
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            sums[pair] = sum_up_to_lane(counts[pair]);
            totals[pair] = __shfl_sync(ALL_LANES, sums[pair], 31);
            sums[pair] -= counts[pair];
        }
        const uint32_t first = totals[0] & 0xffff, half = first + (totals[0] >> 16),
                       third = half + (totals[1] & 0xffff);
        ranks = uint64_t(sums[1] + (half | third << 16)) << 32 | (sums[0] + (first << 16));
        take(int(third + (totals[1] >> 16)));
    }

    __device__ __forceinline__ void arrive() {
        if (REGULAR && BITS > 0) grids.arrive(weight);
    }

    __device__ __forceinline__ Chunk chunk(int k) const {
        const uint32_t mask = masks >> 8 * k & 0xff;
        const int rank = int(ranks >> 16 * k & 0xffff), last = weight.chunks - 1;
        const int own = chunk_of(tile, k) < last ? chunk_of(tile, k) : last;
        Chunk chunk;
        if constexpr (BITS == 0) {
            with_number(weight.values, [&](auto value) {
                spread_values(mask, reinterpret_cast<const decltype(value)*>(stage + bit / 8) + rank, chunk.weight);
            });
            chunk.scale = 1.0f;
        } else {
            const auto codes = window_at(bit + rank * weight.bits);
            chunk = scaled_codes<REGULAR>(weight, grids, k, own * CHUNK, mask, [&](float offset, float (&to)[CHUNK]) {
                spread_codes(mask, codes, weight.bits, offset, to);
            });
        }
        if (!fits) chunk.weight[0] = float_of(0x7fc00000u);
        return chunk;
    }

  private:
    // How many entries the row has in the tiles before.
    __device__ __forceinline__ int64_t count_before(int first) const {
        int count = 0;
        bool ignored = true;
        for (int chunk = chunk_of(0, 0); chunk < first * TILE / CHUNK; chunk += 32)
            count += __popc(mask_of_chunk(chunk, ignored));
        return __shfl_sync(ALL_LANES, sum_up_to_lane(count), 31);
    }

    // Whether a byte is all that there is of a chunk's mask or places.
    __device__ __forceinline__ bool bytes_by_chunk() const {
        return weight.bitmask || (weight.keep == 2 && weight.group == 4);
    }

    // Early, since it takes long until they are here.
    __device__ __forceinline__ void fetch(int tile) {
        if (!bytes_by_chunk()) return;
#pragma unroll
        for (int k = 0; k < TILE_CHUNKS; ++k) {
            const int chunk = chunk_of(tile, k);
            fetched[k] = chunk < weight.chunks ? bytes[chunk] : 0;
        }
    }

    // A bit for each column of a chunk that has an entry; `all_fit` becomes false where there must not be one.
    __device__ __forceinline__ uint32_t mask_of_byte(int chunk, uint32_t byte, bool& all_fit) const {
        if (chunk >= weight.chunks) return 0;
        const uint32_t columns = (1u << weight.columns_of(chunk)) - 1;
        if (weight.bitmask) {
            all_fit &= (byte & ~columns) == 0;
        } else {
            byte = mask_of_2_in_4(byte & 15) | mask_of_2_in_4(byte >> 4) << 4;
            all_fit &= __popc(byte & columns) * 2 == weight.columns_of(chunk);
        }
        return byte & columns;
    }

    __device__ __forceinline__ uint32_t mask_of_chunk(int chunk, bool& all_fit) const {
        if (chunk >= weight.chunks) return 0;
        if (bytes_by_chunk()) return mask_of_byte(chunk, bytes[chunk], all_fit);
        return mask_of_places(weight, bytes, chunk, all_fit);
    }

    // Brings the entries of the tile, `count` of them, if they are among all.
    __device__ __forceinline__ void take(int count) {
        if (left < count) { // the same for the whole warp
            left = -1;
            masks = 0;
            fits = false;
            expect_unwritten(stage, weight.stage_bytes);
            return;
        }
        const int size = int((next % 8 + count * weight.entry_bits() + 7) / 8);
        __syncwarp(); // the entries before these have been read
        bit = 8 * stage_entries(weight, weight.entries + next / 8, size, stage) + int(next % 8);
        expect_unwritten(stage, bit / 8); // parts of words that window_at reads along, and drops
        expect_unwritten(stage + bit / 8 + size, 3 * sizeof(uint32_t));
        next += count * weight.entry_bits();
        left -= count;
        __syncwarp();
    }

    __device__ __forceinline__ Window<BITS> window_at(int bit) const {
        const auto* words = reinterpret_cast<const uint32_t*>(stage) + bit / 32;
        const uint64_t both = words[0] | uint64_t(words[1]) << 32;
        if constexpr (BITS < 8) return uint32_t(both >> bit % 32);
        return bit % 32 == 0 ? both : both >> bit % 32 | uint64_t(words[2]) << (64 - bit % 32);
    }

    const Packed& weight;
    RowGrids grids;
    int64_t next, left;   // next: the first bit of the tile's entries; left: how many there are at most, -1: too few
    const uint8_t* bytes; // of the row's mask or places
    uint8_t* stage;
    int tile = 0, bit = 0; // bit: where the entries begin in the stage
    uint32_t fetched[TILE_CHUNKS], masks = 0;
    uint64_t ranks = 0; // of the lane's chunks, in 16 bits each: how many entries of the tile are before
    bool fits = true;
};

template <int BITS, bool MASKED, bool REGULAR> using RowTiles =
    std::conditional_t<MASKED, SomeColumns<BITS, REGULAR>, AllColumns<BITS, REGULAR>>;
} // namespace gpu
