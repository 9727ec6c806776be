// As much of LibTorch's stable ABI as codes.cpp, bitmask.cpp and cocktail.cpp in csrc/cpu use, with tensors that end
// where their bytes end, so that the address sanitizer sees the first byte beyond.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

#include <torch/headeronly/core/ScalarType.h>

namespace torch::stable {
inline size_t shortfall = 0; // bytes that every tensor lacks: to see that somebody notices

class Tensor {
  public:
    Tensor(std::vector<int64_t> sizes, size_t element_size, size_t offset = 0)
        : sizes_(std::move(sizes)), element_size_(element_size), offset_(offset * element_size),
          bytes_(static_cast<uint8_t*>(malloc(std::max<size_t>(1, offset_ + nbytes() - std::min(nbytes(), shortfall)))),
                 free) {}

    void* data_ptr() const { return bytes_.get() + offset_; }
    void* mutable_data_ptr() const { return data_ptr(); }
    const void* const_data_ptr() const { return data_ptr(); }
    uint8_t* octets() const { return bytes_.get() + offset_; }
    int64_t size(int64_t dim) const { return sizes_.at(dim); }
    int64_t dim() const { return static_cast<int64_t>(sizes_.size()); }
    size_t element_size() const { return element_size_; }
    bool is_contiguous() const { return true; }
    int get_device() const { return -1; }
    torch::headeronly::ScalarType scalar_type() const {
        using torch::headeronly::ScalarType;
        if (type) return *type;
        return truth ? ScalarType::Bool : element_size_ == 1 ? ScalarType::Byte : ScalarType::Float;
    }
    bool truth = false;                                // whether its bytes are bools
    std::optional<torch::headeronly::ScalarType> type; // where the size of an element does not tell

    int64_t numel() const {
        int64_t count = 1;
        for (int64_t size : sizes_) count *= size;
        return count;
    }
    size_t nbytes() const { return static_cast<size_t>(numel()) * element_size_; }

  private:
    std::vector<int64_t> sizes_;
    size_t element_size_, offset_;
    std::shared_ptr<uint8_t> bytes_;
};
} // namespace torch::stable

#define STD_TORCH_CHECK(condition, ...)                                                                                \
    do {                                                                                                               \
        if (!(condition)) throw std::runtime_error(#condition);                                                        \
    } while (false)
