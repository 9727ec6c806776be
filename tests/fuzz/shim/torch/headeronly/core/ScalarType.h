// See ../../csrc/stable/tensor.h.
#pragma once

namespace torch::headeronly {
enum class ScalarType { Byte, Bool, Long, Half, BFloat16, Float, Double };
}
