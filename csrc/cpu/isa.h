// The instruction set that the CPU kernels use, chosen once at import; each kernel has one body compiled for each.
// AVX-512 was tried for the sweep: 2.06 against 2.43 ms with a given mask, but 5.9 against 2.6 ms for 2:4.
#pragma once

enum class Isa { baseline, avx2 };

Isa current_isa();
void set_isa(Isa isa);
