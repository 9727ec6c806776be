// See tensor.h.
#pragma once
#include <torch/csrc/stable/tensor.h>

namespace torch::stable {
inline Tensor new_empty(const Tensor& like, std::vector<int64_t> sizes) {
    return {std::move(sizes), like.element_size()};
}

inline Tensor new_empty(const Tensor&, std::vector<int64_t> sizes, torch::headeronly::ScalarType type) {
    using torch::headeronly::ScalarType;
    if (type != ScalarType::Byte && type != ScalarType::Long) abort(); // no other is asked for
    return {std::move(sizes), type == ScalarType::Byte ? size_t(1) : size_t(8)};
}

// Backwards and one at a time: no part may rely on those before it.
template <class Body> void parallel_for(int64_t begin, int64_t end, int64_t, const Body& body) {
    for (int64_t i = end; i-- > begin;) body(i, i + 1);
}
} // namespace torch::stable
