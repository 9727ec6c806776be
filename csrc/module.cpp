// The Python module fmcompress._C: build facts and the CPU capability. Importing it registers the native ops of the
// other files.
#include <pybind11/pybind11.h>

#include <string>

#include "cpu/isa.h"

// torch reports what the machine has and what ATEN_CPU_CAPABILITY allows; follow it, so that one switch governs both.
static void set_cpu_capability(const std::string& name) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
                        __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vpopcntdq");
    if (avx512 && name == "AVX512")
        return set_isa(__builtin_cpu_supports("avx512bf16") ? Isa::avx512bf16 : Isa::avx512);
    if (avx2 && (name == "AVX2" || name == "AVX512")) return set_isa(Isa::avx2);
#endif
    set_isa(Isa::baseline);
}

static std::string cpu_capability() {
    static constexpr const char* names[] = {"baseline", "AVX2", "AVX512", "AVX512 BF16"};
    return names[static_cast<int>(current_isa())];
}

PYBIND11_MODULE(_C, m) {
    m.doc() = "Native kernels of fmcompress; tensors go through torch.ops.fmcompress";
    m.def("set_cpu_capability", &set_cpu_capability, "Choose the kernels by torch's name of the CPU capability");
    m.def("cpu_capability", &cpu_capability, "The instruction set in use");
#ifdef FMCOMPRESS_CUDA
    m.attr("cuda") = true;
#else
    m.attr("cuda") = false;
#endif
}
