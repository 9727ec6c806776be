// The parts of a packed weight as torch hands them over, checked and put together for the kernels of either device.
#pragma once
#include <algorithm>

#include "checks.h"
#include "packed.h"

inline Number number_of(const Tensor& tensor, const char* name) {
    using torch::headeronly::ScalarType;
    const auto type = tensor.scalar_type();
    require(type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half, name,
            ": expected float32, bfloat16 or float16.");
    return type == ScalarType::Float ? Number::float32 : type == ScalarType::Half ? Number::float16 : Number::bfloat16;
}

// Never null, also of an empty tensor: a part that is there but empty is no part that is missing.
inline const uint8_t* bytes_of_part(const Tensor& tensor) {
    static constexpr uint8_t nothing = 0;
    const auto* bytes = static_cast<const uint8_t*>(tensor.data_ptr());
    return bytes ? bytes : &nothing;
}

// The parts of packed_linear's schema.
struct [[gnu::visibility("hidden")]] PackedParts { // as Tensor is
    const Tensor& entries;
    const std::optional<Tensor>&bitmask, &starts, &indices, &scale, &zero;
    int64_t bits, group_size, keep, group;
};

inline void take_places(PackedWeight& weight, const PackedParts& parts) {
    using torch::headeronly::ScalarType;
    if (parts.bitmask) {
        require(!parts.indices && parts.starts.has_value(), "bitmask: expected starts beside it, and no indices.");
        weight.rows = parts.bitmask->size(0);
        check_tensor(*parts.bitmask, "bitmask", ScalarType::Byte, {weight.rows, weight.mask_bytes()}, parts.entries);
        check_tensor(*parts.starts, "starts", ScalarType::Long, {weight.rows}, parts.entries);
        weight.bitmask = bytes_of_part(*parts.bitmask);
        weight.starts = static_cast<const int64_t*>(parts.starts->data_ptr());
    } else if (parts.indices) {
        check_groups(parts.keep, parts.group, weight.cols);
        require(parts.group <= 256, "group: expected at most 256, got ", parts.group, ".");
        weight.keep = static_cast<int>(parts.keep);
        weight.group = static_cast<int>(parts.group);
        weight.rows = parts.indices->size(0);
        weight.index_bytes = packed_bytes(weight.cols / parts.group * parts.keep, index_bits(weight.group));
        check_tensor(*parts.indices, "indices", ScalarType::Byte, {weight.rows, weight.index_bytes}, parts.entries);
        weight.indices = bytes_of_part(*parts.indices);
    } else {
        weight.rows = parts.entries.size(0);
    }
}

inline void take_grids(PackedWeight& weight, const PackedParts& parts) {
    using torch::headeronly::ScalarType;
    require(parts.scale.has_value() && parts.group_size >= 0, "scale: expected one for each group of codes.");
    weight.group_size = std::max<int64_t>(1, parts.group_size ? std::min(parts.group_size, weight.cols) : weight.cols);
    weight.groups = (weight.cols + weight.group_size - 1) / weight.group_size;
    weight.scales = number_of(*parts.scale, "scale");
    check_tensor(*parts.scale, "scale", parts.scale->scalar_type(), {weight.rows, weight.groups}, parts.entries);
    weight.scale = parts.scale->data_ptr();
    if (!parts.zero) return;
    weight.zero_bytes = packed_bytes(weight.groups, weight.bits);
    check_tensor(*parts.zero, "zero", ScalarType::Byte, {weight.rows, weight.zero_bytes}, parts.entries);
    weight.zero = bytes_of_part(*parts.zero);
}

// Throws unless shapes and dtypes fit each other; what the parts hold is for the kernels to mistrust.
inline PackedWeight packed_weight(const PackedParts& parts, int64_t cols) {
    using torch::headeronly::ScalarType;
    PackedWeight weight{};
    weight.cols = cols;
    weight.bits = static_cast<int>(parts.bits);
    take_places(weight, parts);
    const auto type = parts.bits ? ScalarType::Byte : parts.entries.scalar_type();
    if (parts.bits)
        check_bits(parts.bits);
    else
        weight.values = number_of(parts.entries, "entries");
    const int64_t kept = weight.kept_of_row(), stored = parts.bits ? packed_bytes(kept, parts.bits) : kept;
    if (parts.bitmask)
        check_tensor(parts.entries, "entries", type, {parts.entries.numel()}, parts.entries);
    else
        check_tensor(parts.entries, "entries", type, {weight.rows, stored}, parts.entries);
    require(parts.bits != 0 || weight.masked(), "entries: expected a bitmask or indices beside values.");
    weight.entries = bytes_of_part(parts.entries);
    weight.entries_bytes = parts.entries.numel() * static_cast<int64_t>(parts.entries.element_size());
    weight.row_bytes = parts.bitmask ? 0 : stored * static_cast<int64_t>(parts.entries.element_size());
    if (parts.bits) take_grids(weight, parts);
    return weight;
}
