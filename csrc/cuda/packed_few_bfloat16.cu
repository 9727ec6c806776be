// The kernels of packed_linear for few tokens of bfloat16.
#include "packed_linear.cuh"

template void gpu::few_tokens<gpu::Bfloat16>(const gpu::Packed&, const gpu::Linear<gpu::Bfloat16>&, gpu::Stream);
