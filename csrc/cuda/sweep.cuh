// The column sweep of one block on CUDA: four lanes (a quad) hold one row in registers, column c in slot c / 4 of lane
// c % 4, and the whole sweep is unrolled over the slots, so that every register index is a constant. What a column
// leaves of a weight is a policy: Pruning here, Rounding in joint.cuh. Free of torch.
#pragma once
#include "device.cuh"
#include "divisor.cuh"
#include "sweep.h"

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

// Who is pruned: a given mask or none, keep:4 where the quad is the group, or keep:group of any other group.
enum class Choice { given, quad, any };

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

// Columns past the end get an identity factor: they make no error and change nothing.
template <class Scalar>
__device__ __forceinline__ void load_factor(SweepShared<Scalar>& shared, const Scalar* factor, int cols) {
    const int k = threadIdx.x;
    static_assert(SWEEP_THREADS == MAX_COLS, "one thread a column");
    shared.diagonal[k] = Divisor<Scalar>::of(k < cols ? factor[k * cols + k] : Scalar(1));
#pragma unroll 8
    for (int j = 0; j < MAX_COLS; ++j)
        if (k / BAND >= j / BAND)
            shared.factor[factor_place(j / LANES, j % LANES, k / LANES, k % LANES)] =
                j < cols && k < cols ? factor[j * cols + k] : Scalar(j == k);
}

// One lane's part of one row; bit s of `pruned` says whether the column in slot s goes.
template <class Scalar> struct Lane {
    Scalar weight[SLOTS];
    Scalar loss;
    uint32_t pruned;
    int index;

    __device__ __forceinline__ bool prunes(int slot) const { return pruned >> slot & 1; }
};

// The slots after `slot` absorb the error of column 4 slot + lane.
template <class Scalar>
__device__ __forceinline__ void absorb(Lane<Scalar>& own, Scalar error, const Scalar* factor, int slot, int lane) {
    struct alignas(16) Wide {
        Scalar part[DEPTH];
    };
#pragma unroll
    for (int first = slot / DEPTH * DEPTH; first < SLOTS; first += DEPTH) {
        const Wide wide = *reinterpret_cast<const Wide*>(factor + factor_place(slot, lane, first, own.index));
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
            const int s = first + d;
            if (s > slot || (s == slot && own.index > lane))
                own.weight[s] = compensated(own.weight[s], error, wide.part[d]);
        }
    }
}

// The settling of sweep_block_: a pruned weight is 0, any other stays as it is.
template <class Scalar> struct Pruning {
    struct Row {
        __device__ __forceinline__ void reach(int, int) {}
        // The error that the column makes.
        __device__ __forceinline__ Scalar settle(Scalar weight, bool prune, const Divisor<Scalar>& diagonal, bool,
                                                 bool) const {
            const Scalar full = pruning_error(weight, diagonal);
            return prune ? full : Scalar(0);
        }
        // What the slot leaves of the lane's own weight.
        __device__ __forceinline__ Scalar leave(Scalar weight, bool prune, int, int) const {
            return prune ? Scalar(0) : weight;
        }
    };
    __device__ __forceinline__ Row row(int64_t, int, int) const { return {}; }
};

// The sweep of column 4 slot + lane: its owner finds the error, the quad shares and absorbs it. There is no way around
// a column past the end: a branch would keep this column's absorbing from running beside the next one's division.
template <class Scalar, class Row> __device__ __forceinline__ void
sweep_column(Lane<Scalar>& own, Row& settling, const SweepShared<Scalar>& shared, int slot, int lane, int cols) {
    const int column = slot * LANES + lane;
    const Scalar own_error =
        settling.settle(own.weight[slot], own.prunes(slot), shared.diagonal[column], column < cols, own.index == lane);
    const Scalar error = __shfl_sync(ALL_LANES, own_error, lane, LANES);
    own.loss += error * error; // by each lane alike, in the order of the columns
    absorb(own, error, shared.factor, slot, lane);
}

// keep:4 at one slot: each lane counts who of the quad goes before it.
template <class Scalar>
__device__ __forceinline__ void choose_quad(Lane<Scalar>& own, const SweepShared<Scalar>& shared, int slot, int count) {
    const Scalar score = saliency(own.weight[slot], shared.diagonal[slot * LANES + own.index]);
    int before = 0;
#pragma unroll
    for (int other = 1; other < LANES; ++other)
        before += precedes(__shfl_xor_sync(ALL_LANES, score, other, LANES), own.index ^ other, score, own.index);
    own.pruned |= uint32_t(before < count) << slot;
}

// keep:group from column `begin` on, which lies in `slot`: the weights go through shared memory, where a lane can
// reach a column that only the running program knows.
template <class Scalar> __device__ __forceinline__ void choose_any(Lane<Scalar>& own, const SweepShared<Scalar>& shared,
                                                                   Scalar* scores, int slot, int begin, int group,
                                                                   int count) {
    const int end = begin + group;
    const int first = begin + (own.index - begin % LANES + LANES) % LANES; // of the lane's own columns
#pragma unroll
    for (int s = slot; s < SLOTS; ++s) {
        const int column = s * LANES + own.index;
        if (column >= begin && column < end) scores[column] = own.weight[s];
    }
#pragma unroll 1 // this code is repeated for every slot
    for (int c = first; c < end; c += LANES) scores[c] = saliency(scores[c], shared.diagonal[c]);
    __syncwarp();
#pragma unroll 1
    for (int c = first; c < end; c += LANES) {
        int before = 0;
#pragma unroll 2
        for (int other = begin; other < end; ++other) before += precedes(scores[other], other, scores[c], c);
        own.pruned |= uint32_t(before < count) << (c / LANES);
    }
}

template <class Scalar>
__device__ __forceinline__ Lane<Scalar> load_lane(const Scalar* weight, const bool* prune, int cols) {
    Lane<Scalar> own{};
    own.index = threadIdx.x % LANES;
#pragma unroll
    for (int s = 0; s < SLOTS; ++s) {
        const int column = s * LANES + own.index;
        if (weight && column < cols) own.weight[s] = weight[column];
        if (prune && column < cols) own.pruned |= uint32_t(prune[column]) << s;
    }
    return own;
}

template <class Scalar> __device__ __forceinline__ void store_lane(const Lane<Scalar>& own, Scalar* weight, int cols) {
#pragma unroll
    for (int s = 0; s < SLOTS; ++s)
        if (s * LANES + own.index < cols) weight[s * LANES + own.index] = own.weight[s];
}

// count = group - keep; neither matters where the mask is given. Every matrix has thread blocks of its own, all along
// one axis of the grid, since another would end at 65535. Threads past a matrix's last row run along with zeros.
template <class Scalar, Choice CHOICE, class Settling>
__global__ void __launch_bounds__(SWEEP_THREADS, (CHOICE == Choice::any ? 12 : 16) / sizeof(Scalar))
    sweep_kernel(Settling settling_in, Scalar* weight, const Scalar* factor, const bool* prune, Scalar* loss,
                 int64_t rows, int cols, int count, int group) {
    auto& shared = shared_memory<SweepShared<Scalar>>();
    const unsigned tiles = unsigned(ceil_div(rows, SWEEP_ROWS)); // of a matrix
    const int64_t matrix = blockIdx.x / tiles;
    load_factor(shared, factor + matrix * cols * cols, cols);
    const int64_t row_of_matrix = int64_t(blockIdx.x % tiles) * SWEEP_ROWS + threadIdx.x / LANES;
    const int64_t row = row_of_matrix < rows ? matrix * rows + row_of_matrix : -1; // one number to hold, not two
    const bool present = row >= 0;
    Lane<Scalar> own = load_lane(present ? weight + row * cols : nullptr,
                                 CHOICE == Choice::given && prune && present ? prune + row * cols : nullptr, cols);
    auto settling = settling_in.row(row, own.index, cols);
    __syncthreads();
    int next = 0; // the column where the next group begins
#pragma unroll
    for (int slot = 0; slot < SLOTS; ++slot) {
        if (slot * LANES >= cols) break;
        settling.reach(slot, cols);
        if constexpr (CHOICE == Choice::any) {
            Scalar* scores = shared_memory<SweepSharedAny<Scalar>>().scores[threadIdx.x / LANES];
#pragma unroll 1 // the choice is long code: once for four columns
            for (int lane = 0; lane < LANES; ++lane) {
                const int column = slot * LANES + lane;
                if (column == next && column < cols) {
                    choose_any(own, shared, scores, slot, column, group, count);
                    next += group;
                }
                sweep_column(own, settling, shared, slot, lane, cols);
            }
        } else {
            if constexpr (CHOICE == Choice::quad) choose_quad(own, shared, slot, count);
#pragma unroll
            for (int lane = 0; lane < LANES; ++lane) sweep_column(own, settling, shared, slot, lane, cols);
        }
        own.weight[slot] = settling.leave(own.weight[slot], own.prunes(slot), slot, cols);
    }
    if (!present) return;
    store_lane(own, weight + row * cols, cols);
    if (own.index == 0) loss[row] = own.loss;
}

// Sweep every row of `batch` matrices in one launch; prune may be null, then keep:group is chosen inside the sweep, or
// nothing if group is 0.
template <class Scalar, class Settling> void sweep_rows(Settling settling, Scalar* weight, const Scalar* factor,
                                                        const bool* prune, Scalar* loss, int64_t batch, int64_t rows,
                                                        int cols, int keep, int group, Stream stream) {
    if (batch == 0 || rows == 0) return;
    const auto run = [&](auto kernel, size_t shared_bytes) {
        launch(kernel, dim3(unsigned(batch * ceil_div(rows, SWEEP_ROWS))), SWEEP_THREADS, shared_bytes, stream,
               settling, weight, factor, prune, loss, rows, cols, group - keep, group);
    };
    if (prune || group == 0)
        run(sweep_kernel<Scalar, Choice::given, Settling>, sizeof(SweepShared<Scalar>));
    else if (group == LANES)
        run(sweep_kernel<Scalar, Choice::quad, Settling>, sizeof(SweepShared<Scalar>));
    else
        run(sweep_kernel<Scalar, Choice::any, Settling>, sizeof(SweepSharedAny<Scalar>));
}
} // namespace gpu
