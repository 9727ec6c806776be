// The instruction set that the CPU kernels use, chosen once at import; each kernel has one body compiled for each.
#pragma once

enum class Isa { baseline, avx2, avx512 };

Isa current_isa();
void set_isa(Isa isa);
