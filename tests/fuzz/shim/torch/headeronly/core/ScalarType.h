// See ../../csrc/stable/tensor.h.
#pragma once

namespace torch::headeronly {
enum class ScalarType { Byte, Bool, Float, Double };
}
