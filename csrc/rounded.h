// A product that is rounded on its own. CPU files that include this are compiled without contraction into fused
// products; CUDA is told here.
#pragma once
#include "common.h"

#ifdef __CUDA_ARCH__
HOST_DEVICE float rounded_product(float a, float b) { return __fmul_rn(a, b); }
HOST_DEVICE double rounded_product(double a, double b) { return __dmul_rn(a, b); }
#else
template <class Scalar> HOST_DEVICE Scalar rounded_product(Scalar a, Scalar b) { return a * b; }
#endif
