// CocktailSGD's ops of csrc/cuda behind plain C functions, as in emulate_kernels.cpp; tests/cocktail_emulation.py calls
// them as cocktail.cu does.
#include "cocktail_launch.cuh"
#include "emulated_calls.h"

using namespace gpu;

struct Sizes { // as in cocktail_emulation.py
    int64_t numel, seed, step, stream, block, sampled, kept, bits, group, symmetric, first, second, workers;

    CocktailLayout layout() const {
        return {numel,      seed,      step,      uint32_t(stream), sampled,
                int(block), int(kept), int(bits), int(group),       symmetric != 0};
    }
    Numbers numbers(void* data, int64_t number) const { return {data, Number(number), numel}; }
};

template <class Source> static void compressed(const Source& source, const Sizes& sizes, void* payload) {
    memset(payload, 0, COCKTAIL_HEADER_BYTES);
    compress(source, sizes.layout(), static_cast<uint32_t*>(payload), 0);
}

extern "C" {
int launches() { return std::exchange(shim::launches, 0); }
void gradient(const Sizes& sizes, float scale, void* gradient, void* residual, void* payload) {
    const Numbers numbers = sizes.numbers(gradient, sizes.first);
    compressed(GradientSource{numbers, sizes.numbers(residual, sizes.second), scale}, sizes, payload);
}
void delta(const Sizes& sizes, float, void* local, void* shared, void* payload) {
    compressed(DeltaSource{sizes.numbers(local, sizes.first), sizes.numbers(shared, sizes.second)}, sizes, payload);
}
void mean(const Sizes& sizes, float, void* payloads, void* residual, void* payload) {
    const auto* bytes = static_cast<const uint8_t*>(payloads);
    compressed(MeanSource{bytes, sizes.workers, sizes.numbers(residual, sizes.second)}, sizes, payload);
}
void add(const Sizes& sizes, float scale, void* payload, void* out) {
    add_payload(static_cast<const uint8_t*>(payload), sizes.numbers(out, sizes.second), sizes.layout(), scale, 0);
}
void sum(const Sizes& sizes, float, void* payload, void* sum) {
    checksum(static_cast<const uint8_t*>(payload), sizes.numel, static_cast<unsigned long long*>(sum), 0);
}
}
