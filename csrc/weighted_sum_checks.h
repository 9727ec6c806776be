// The arguments of weighted_sum_, checked, and their dtypes as types.
#pragma once
#include "checks.h"
#include "weighted_sum.h"

// body(a number of the tensor's type); false where the type is none of the four.
template <class Body> bool for_type(const Tensor& tensor, const Body& body) {
    using torch::headeronly::ScalarType;
    switch (tensor.scalar_type()) {
    case ScalarType::Half:
        return body(Float16()), true;
    case ScalarType::BFloat16:
        return body(BFloat16()), true;
    case ScalarType::Float:
        return body(float()), true;
    case ScalarType::Double:
        return body(double()), true;
    default:
        return false;
    }
}

// Rows of numbers, what each is multiplied by, and where the sum goes.
template <class From, class Sum, class To> struct WeightedSum {
    const From* sources; // [rows][count]
    const Sum* weights;
    To* out;
    int64_t rows, count;
};

// body(a WeightedSum of the tensors' types), after the checks.
template <class Body>
void for_weighted_sum(const Tensor& out, const Tensor& sources, const Tensor& weights, const Body& body) {
    using torch::headeronly::ScalarType;
    require(sources.dim() == 2 && sources.size(0) > 0, "sources: expected 2 dimensions and at least one row.");
    const int64_t rows = sources.size(0), count = sources.size(1);
    const bool as_float = weights.scalar_type() == ScalarType::Float && sources.scalar_type() != ScalarType::Double;
    check_tensor(sources, "sources", sources.scalar_type(), {rows, count}, sources);
    check_tensor(weights, "weights", as_float ? ScalarType::Float : ScalarType::Double, {rows}, sources);
    check_tensor(out, "out", out.scalar_type(), {count}, sources);
    const auto typed = [&](auto from, auto sum, auto to) {
        using From = decltype(from);
        using Sum = decltype(sum);
        using To = decltype(to);
        body(WeightedSum<From, Sum, To>{static_cast<const From*>(sources.data_ptr()),
                                        static_cast<const Sum*>(weights.data_ptr()), static_cast<To*>(out.data_ptr()),
                                        rows, count});
    };
    const auto from_type = [&](auto from) {
        require(for_type(out,
                         [&](auto to) {
                             if constexpr (!std::is_same_v<decltype(from), double>)
                                 if (as_float) return typed(from, float(), to);
                             typed(from, double(), to);
                         }),
                "out: expected float16, bfloat16, float32 or float64.");
    };
    require(for_type(sources, from_type), "sources: expected float16, bfloat16, float32 or float64.");
}
