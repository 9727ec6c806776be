// The column sweep of one block on CUDA: four lanes hold one row in registers, and the whole sweep is unrolled over
// their slots, so that every register index is a constant. What a column leaves of a weight is a policy: Pruning here,
// Rounding in joint.cuh. Free of torch.
#pragma once
#include "sweep.h"
#include "sweep_lanes.cuh"

namespace gpu {
// Who is pruned: a given mask or none, keep:4 where the quad is the group, or keep:group of any other group.
enum class Choice { given, quad, any };

// Thread blocks of a multiprocessor that the registers have to suffice for: for a fourth one of floats the joint sweep
// would spill some where it chooses among any other group.
template <class Scalar, Choice CHOICE> constexpr int RESIDENT = (CHOICE == Choice::any ? 12 : 16) / sizeof(Scalar);

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

// count = group - keep; neither matters where the mask is given. Every matrix has thread blocks of its own, all along
// one axis of the grid, since another would end at 65535. Threads past a matrix's last row run along with zeros.
template <class Scalar, Choice CHOICE, class Settling>
__global__ void __launch_bounds__(SWEEP_THREADS, RESIDENT<Scalar, CHOICE>)
    sweep_kernel(Settling settling_in, Scalar* weight, const Scalar* factor, const bool* prune, Scalar* loss,
                 int64_t rows, int cols, int count, int group) {
    auto& shared = shared_memory<SweepShared<Scalar>>();
    const unsigned tiles = unsigned(ceil_div(rows, SWEEP_ROWS)); // of a matrix
    const int64_t matrix = blockIdx.x / tiles;
    const int64_t row_of_matrix = int64_t(blockIdx.x % tiles) * SWEEP_ROWS + threadIdx.x / LANES;
    const int64_t row = row_of_matrix < rows ? matrix * rows + row_of_matrix : -1; // one number to hold, not two
    const bool present = row >= 0;
    Lane<Scalar> own{};
    own.index = threadIdx.x % LANES;
    // all is on its way before any of it is awaited
    load_slots(own.weight, present ? weight + row * cols : nullptr, own.index, cols);
    Flags flags{};
    const bool masked = CHOICE == Choice::given && prune;
    if (masked && present)
        flags.load(prune + row * cols, own.index, cols, cols % LANES == 0 && aligned_for<uint32_t>(prune));
    auto settling = settling_in.row(row, own.index, cols);
    copy_factor(shared, factor + matrix * cols * cols, cols);
    if (masked) own.pruned = flags.of_lane(own.index);
    arrive_copies();
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
