// The kernels of packed_linear for few tokens of float32.
#include "packed_linear.cuh"

template void gpu::few_tokens<float>(const gpu::Packed&, const gpu::Linear<float>&, gpu::Stream);
