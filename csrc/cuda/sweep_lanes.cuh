// What the column sweep holds: the factor in shared memory, and a row in the registers of four lanes (a quad), column c
// in slot c / 4 of lane c % 4. Free of torch.
#pragma once
#include "device.cuh"
#include "divisor.cuh"

namespace gpu {
constexpr int MAX_COLS = 128;
constexpr int LANES = 4;                // of a quad
constexpr int SLOTS = MAX_COLS / LANES; // columns of one lane
constexpr int DEPTH = 4;                // slots that a lane loads from the factor at once
constexpr int BAND = LANES * DEPTH;     // columns that a quad loads at once
constexpr int BANDS = MAX_COLS / BAND;
constexpr int SWEEP_THREADS = 128;
constexpr int SWEEP_ROWS = SWEEP_THREADS / LANES;
constexpr int FACTOR_SIZE = BAND * BAND * BANDS * (BANDS + 1) / 2;

template <class Scalar> struct SweepShared {
    alignas(16) Scalar factor[FACTOR_SIZE];
    Divisor<Scalar> diagonal[MAX_COLS];
};
template <class Scalar> struct SweepSharedAny : SweepShared<Scalar> {
    Scalar scores[SWEEP_ROWS][MAX_COLS + 4]; // padded: the 8 rows of a warp then use different banks
};

// Where the factor of column 4 slot + lane on column 4 to_slot + to_lane lies. Bands left of the diagonal are not
// stored; within a band the slots of one lane are neighbours: one wide load each, the quad's four in different banks.
HOST_DEVICE constexpr int factor_place(int slot, int lane, int to_slot, int to_lane) {
    const int band = slot / DEPTH;
    const int bands_above = band * BANDS - band * (band - 1) / 2;
    const int row = slot % DEPTH * LANES + lane;
    const int column = (to_slot / DEPTH - band) * BAND + to_lane * DEPTH + to_slot % DEPTH;
    return bands_above * BAND * BAND + row * (BANDS - band) * BAND + column;
}

// There after arrive_copies and a barrier. Columns past the end get zeros, and 1 on the diagonal: they make no error
// and change nothing.
template <class Scalar>
__device__ __forceinline__ void copy_factor(SweepShared<Scalar>& shared, const Scalar* factor, int cols) {
    const int k = threadIdx.x;
    static_assert(SWEEP_THREADS == MAX_COLS, "one thread a column");
    const Scalar diagonal = k < cols ? factor[k * cols + k] : Scalar(1);
#pragma unroll
    for (int j = 0; j < MAX_COLS; ++j) {
        if (j % BAND == 0 && (k < j || cols <= j)) break;
        copy_number(&shared.factor[factor_place(j / LANES, j % LANES, k / LANES, k % LANES)], factor + j * cols + k,
                    j < cols && k < cols);
    }
    shared.diagonal[k] = Divisor<Scalar>::of(diagonal);
}

// One lane's part of one row; bit s of `pruned` says whether the column in slot s goes.
template <class Scalar> struct Lane {
    Scalar weight[SLOTS];
    Scalar loss;
    uint32_t pruned;
    int index;

    __device__ __forceinline__ bool prunes(int slot) const { return pruned >> slot & 1; }
};

// A lane's columns of a row; zeros where there is no row.
template <class Scalar>
__device__ __forceinline__ void load_slots(Scalar (&weight)[SLOTS], const Scalar* row, int index, int cols) {
#pragma unroll
    for (int s = 0; s < SLOTS; ++s) {
        const int column = s * LANES + index;
        weight[s] = row && column < cols ? row[column] : Scalar(0);
    }
}

// The mask of a row as one lane loads it: a word holds the neighbours of a whole slot, of slot t LANES + index.
struct Flags {
    static constexpr int COUNT = SLOTS / LANES;
    uint32_t word[COUNT];

    __device__ __forceinline__ void load(const bool* row, int index, int cols, bool aligned) {
#pragma unroll
        for (int t = 0; t < COUNT; ++t) {
            const int column = (t * LANES + index) * LANES;
            word[t] = 0;
            if (aligned && column < cols) word[t] = load_wide<uint32_t>(row + column);
            for (int c = 0; !aligned && c < LANES; ++c)
                if (column + c < cols) word[t] |= uint32_t(row[column + c]) << 8 * c;
        }
    }
    // Bit s is the flag of the lane's own column in slot s: the lanes exchange what they hold, a bit a column. The
    // product moves the lowest bits of four bytes side by side.
    __device__ __forceinline__ uint32_t of_lane(int index) const {
        uint32_t gathered = 0, flags = 0;
#pragma unroll
        for (int t = 0; t < COUNT; ++t) gathered |= (word[t] * 0x01020408 >> 24 & 0xf) << t * LANES;
#pragma unroll
        for (int lane = 0; lane < LANES; ++lane)
            flags |= (__shfl_sync(ALL_LANES, gathered, lane, LANES) >> index & 0x11111111) << lane;
        return flags;
    }
};

template <class Scalar> __device__ __forceinline__ void store_lane(const Lane<Scalar>& own, Scalar* weight, int cols) {
#pragma unroll
    for (int s = 0; s < SLOTS; ++s)
        if (s * LANES + own.index < cols) weight[s * LANES + own.index] = own.weight[s];
}
} // namespace gpu
