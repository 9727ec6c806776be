// Every native op in one place. All tensors are contiguous; shapes and values were checked in fmcompress/_ops.
#pragma once
#include <optional>
#include <sstream>
#include <stdexcept>
#include <tuple>

#include <torch/csrc/stable/tensor.h>

using torch::stable::Tensor;

#define CHECK_LAYOUT(tensor)                                                                                           \
    STD_TORCH_CHECK((tensor).is_contiguous(), #tensor ": expected contiguous rows. Call .contiguous() first.")

// What no check in Python can know: ValueError there, as the public functions promise, not STD_TORCH_CHECK's
// RuntimeError.
template <class... Parts> void require(bool condition, const Parts&... message) {
    if (condition) return;
    std::ostringstream text;
    (text << ... << message);
    throw std::invalid_argument(text.str());
}

// scores [segments, length] float|double, count -> [segments, length] bool, exactly count true in each segment
Tensor select_smallest(const Tensor& scores, int64_t count, bool by_magnitude);

// scores [rows, cols] float|double -> [rows, cols] bool, group - keep true in each group
Tensor nm_mask(const Tensor& scores, int64_t keep, int64_t group, bool by_magnitude);

// weight [rows, cols <= 128] float|double, changed; factor [cols, cols]; prune [rows, cols] bool or none
// -> [rows] sum of squared errors; all of them with a batch in front, or none
Tensor sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune, int64_t keep,
                    int64_t group);

// x, dual, target [rows, cols] float|double, kept [rows, cols] bool; x, dual and kept changed; keep:group, or where
// group is 0 `prune` entries of each row or of the whole -> [] int64, how many of kept changed
Tensor admm_step_(Tensor x, Tensor dual, Tensor kept, const Tensor& target, double penalty, double next_penalty,
                  int64_t prune, int64_t keep, int64_t group, bool by_row);

// weight [segments, length >= 1] float|double, 1 <= candidates <= 1000
// -> scale [segments] like weight, positive; zero [segments] uint8
std::tuple<Tensor, Tensor> search_grid(const Tensor& weight, int64_t bits, bool symmetric, int64_t candidates);

// weight [segments, length] float|double, scale [segments] alike, zero [segments] uint8 -> [segments, length] uint8
Tensor quantize(const Tensor& weight, const Tensor& scale, const Tensor& zero, int64_t bits);

// codes [segments, length] uint8, scale [segments] float|double, zero [segments] uint8 -> [segments, length] like scale
Tensor dequantize(const Tensor& codes, const Tensor& scale, const Tensor& zero);

// As sweep_block_, and what is kept is rounded to its grid; scale [rows, 1] or [rows, cols] like weight, zero the same
// in uint8; nothing is pruned where prune is none and group is 0
// -> [rows] sum of squared errors; codes [rows, cols] uint8; all of them with a batch in front, or none
std::tuple<Tensor, Tensor> joint_sweep_block_(Tensor weight, const Tensor& factor, const std::optional<Tensor>& prune,
                                              const Tensor& scale, const Tensor& zero, int64_t bits, int64_t keep,
                                              int64_t group);

// codes [rows, cols] uint8, bits 2|3|4|8 -> [rows, 4 * ceil(cols * bits / 32)] uint8
Tensor pack_codes(const Tensor& codes, int64_t bits);

// packed as above -> [rows, cols] uint8
Tensor unpack_codes(const Tensor& packed, int64_t bits, int64_t cols);

// values [rows, cols] of 1, 2 or 4 bytes, mask [rows, cols] bool with `count` true
// -> bitmask [rows, ceil(cols / 8)] uint8; kept [count] like values
std::tuple<Tensor, Tensor> pack_bitmask(const Tensor& values, const Tensor& mask, int64_t count);

// bitmask [rows, ceil(cols / 8)] uint8, kept [count] of 1, 2 or 4 bytes -> [rows, cols] like kept; the number of bits
// and those after the last column are checked here, since they come from files
Tensor unpack_bitmask(const Tensor& bitmask, const Tensor& kept, int64_t cols);

// x [tokens, cols] float|bfloat16|half times a weight in the parts of docs/format.md, plus bias [rows] like x:
// entries: values float|bfloat16|half, or codes of 2|3|4|8 bits in uint8 with scale [rows, groups] and perhaps zero;
// bitmask with starts [rows] int64, or indices of keep:group, or neither -> [tokens, rows] like x. The bits of the mask
// and the places are checked here, since they come from files
Tensor packed_linear(const Tensor& x, const Tensor& entries, const std::optional<Tensor>& bitmask,
                     const std::optional<Tensor>& starts, const std::optional<Tensor>& indices,
                     const std::optional<Tensor>& scale, const std::optional<Tensor>& zero,
                     const std::optional<Tensor>& bias, int64_t bits, int64_t group_size, int64_t keep, int64_t group);

// CocktailSGD's compression; docs/wire-format.md has the payloads and what the integers at the end mean,
// csrc/cocktail.h their arithmetic.

// gradient [numel] float|bfloat16|half, residual [numel] float|bfloat16 or none, changed -> payload [bytes] uint8
Tensor compress_gradient_(const Tensor& gradient, std::optional<Tensor> residual, double scale, int64_t seed,
                          int64_t step, int64_t stream, int64_t block, int64_t sampled, int64_t kept, int64_t bits,
                          int64_t group, bool symmetric);

// local [numel] float|bfloat16|half, changed; shared [numel] float|bfloat16|half -> payload [bytes] uint8
Tensor compress_delta_(const Tensor& local, const Tensor& shared, int64_t seed, int64_t step, int64_t stream,
                       int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group, bool symmetric);

// payloads [workers >= 1, bytes] uint8, residual [numel] float|bfloat16 or none, changed -> payload [bytes] uint8; the
// bits of the masks are checked here, since payloads come from other machines
Tensor compress_mean_(const Tensor& payloads, std::optional<Tensor> residual, int64_t numel, int64_t seed, int64_t step,
                      int64_t stream, int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group,
                      bool symmetric);

// payload [bytes] uint8, its masks checked alike; out [numel] float|bfloat16|half, changed
void add_payload_(const Tensor& payload, const Tensor& out, double scale, int64_t seed, int64_t step, int64_t stream,
                  int64_t block, int64_t sampled, int64_t kept, int64_t bits, int64_t group, bool symmetric);

// payload [bytes, a header at least and whole words] uint8 -> [1] int64
Tensor payload_checksum(const Tensor& payload);

// stage_of [devices] int64, -1 idle; links [4, devices, devices], compute [stages, devices], gradient_bytes [stages],
// all double: see fmcompress/_ops/scheduling.py -> stage_of, renumbered where the order is free; [5] double seconds
std::tuple<Tensor, Tensor> plan_cost(const Tensor& stage_of, const Tensor& links, const Tensor& compute,
                                     const Tensor& gradient_bytes, int64_t micro_batches, bool free_order);

// -> a plan that costs no more, its seconds, and how many exchanges were counted, [] int64
std::tuple<Tensor, Tensor, Tensor> improve_plan(const Tensor& stage_of, const Tensor& links, const Tensor& compute,
                                                const Tensor& gradient_bytes, int64_t micro_batches, bool free_order,
                                                int64_t seed, int64_t evaluations);

// out, rows [n, cols] float|double, out changed and maybe rows themselves; read, write [directions, cols]
// -> [2, n] lengths before and after; rows that are no longer than `least` after stay as they were
Tensor low_rank_rows_(Tensor out, const Tensor& rows, const Tensor& read, const Tensor& write, double least);

// rows [n, cols], targets [k, cols] float|double -> per row the target of the largest product [n] int64, that product,
// the row's length
std::tuple<Tensor, Tensor, Tensor> nearest_rows(const Tensor& rows, const Tensor& targets);

// out [count], sources [n >= 1, count], each half|bfloat16|float|double, out changed; weights [n] double, or float
// where sources are not double -> [] int64, how many entries of out are not finite
Tensor weighted_sum_(Tensor out, const Tensor& sources, const Tensor& weights);

// symmetric [n, n] or [batch, n, n] float|double, n <= 128 -> upper and inverse like it; failed [] or [batch] int32
std::tuple<Tensor, Tensor, Tensor> factor_block(const Tensor& symmetric);
