// The instruction set that the CPU kernels use, chosen once at import; each kernel has one body compiled for each.
// AVX-512 serves packed_linear, bitmasks of bytes and cocktail payloads. It was tried for the sweep: 2.06 against 2.43
// ms with a given mask, but 5.9 against 2.6 ms for 2:4.
#pragma once

enum class Isa { baseline, avx2, avx512, avx512bf16 }; // each has what those before it have

Isa current_isa();
void set_isa(Isa isa);

// The one of namesakes in the namespaces baseline and avx2, and of WIDEST_FOR_THIS_CPU also avx512, that suits this
// CPU.
#if defined(__x86_64__)
#define FOR_THIS_CPU(...) (current_isa() != Isa::baseline ? avx2::__VA_ARGS__ : baseline::__VA_ARGS__)
#define WIDEST_FOR_THIS_CPU(...) (current_isa() >= Isa::avx512 ? avx512::__VA_ARGS__ : FOR_THIS_CPU(__VA_ARGS__))
#else
#define FOR_THIS_CPU(...) (baseline::__VA_ARGS__)
#define WIDEST_FOR_THIS_CPU(...) (baseline::__VA_ARGS__)
#endif
