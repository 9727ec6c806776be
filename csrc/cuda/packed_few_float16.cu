// The kernels of packed_linear for few tokens of float16.
#include "packed_linear.cuh"

template void gpu::few_tokens<gpu::Float16>(const gpu::Packed&, const gpu::Linear<gpu::Float16>&, gpu::Stream);
