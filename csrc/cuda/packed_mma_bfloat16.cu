// The kernels of packed_linear by tensor cores, for few tokens of bfloat16.
#include "packed_mma.cuh"

template void gpu::few_tokens_mma<gpu::Bfloat16>(const gpu::Packed&, const gpu::Linear<gpu::Bfloat16>&, gpu::Stream);
