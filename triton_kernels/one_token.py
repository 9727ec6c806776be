"""What a token's pass through a decoder does beside its products, in three Triton kernels, of which attend.py has one;
see runtime/one_token.py."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attend import STAGES, WARPS, attend_kernel, parts_of, positions_at_a_time, rounded
from .cocktail_arithmetic import narrowed, widened

BLOCK = 1024  # numbers of a program of gated_kernel


@triton.jit
def add_norm_kernel(added_ptr, residual_ptr, weight_ptr, sum_ptr, out_ptr, cols, eps, COLS: tl.constexpr):
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    i = tl.arange(0, COLS)
    inside = i < cols
    x = widened(tl.load(residual_ptr + i, mask=inside, other=0))
    if added_ptr is not None:
        x = rounded(x + widened(tl.load(added_ptr + i, mask=inside, other=0)), DTYPE)
        tl.store(sum_ptr + i, narrowed(x, DTYPE), mask=inside)
    factor = 1.0 / tl.sqrt(tl.sum(x * x, 0) / cols + eps)
    weight = widened(tl.load(weight_ptr + i, mask=inside, other=0))
    tl.store(out_ptr + i, narrowed(weight * rounded(x * factor, DTYPE), DTYPE), mask=inside)


@triton.jit
def gated_kernel(gate_ptr, up_ptr, out_ptr, count, BLOCK: tl.constexpr):
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    gate = widened(tl.load(gate_ptr + i, mask=inside, other=0))
    up = widened(tl.load(up_ptr + i, mask=inside, other=0))
    tl.store(out_ptr + i, narrowed(rounded(gate / (1.0 + tl.exp(-gate)), DTYPE) * up, DTYPE), mask=inside)


class TritonKernels:
    """fmcompress.runtime.one_token.Kernels; the tensors are contiguous, and all calls are of one stream."""

    def __init__(self) -> None:
        self._done: Tensor | None = None  # parts of each key head; zeros between two calls

    def add_norm(self, added: Tensor | None, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """See Kernels."""
        total = residual if added is None else torch.empty_like(residual)
        out, cols = torch.empty_like(residual), residual.shape[-1]
        with torch.cuda.device_of(residual):
            add_norm_kernel[(1,)](
                added, residual, weight, total, out, cols, eps, COLS=triton.next_power_of_2(cols), num_warps=16
            )
        return total, out

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """See Kernels."""
        out, count = torch.empty_like(gate), gate.numel()
        with torch.cuda.device_of(gate):
            gated_kernel[(triton.cdiv(count, BLOCK),)](gate, up, out, count, BLOCK=BLOCK)
        return out

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Tensor,
        scaling: float,
    ) -> Tensor:
        """See Kernels."""
        _, key_heads, width, head_dim = keys.shape
        sharing = q.shape[-1] // (key_heads * head_dim)
        positions = positions_at_a_time(sharing, head_dim)
        parts = parts_of(width, key_heads, positions)
        if self._done is None or len(self._done) < key_heads:
            self._done = torch.zeros(key_heads, dtype=torch.int32, device=q.device)
        peaks, totals = (q.new_empty(key_heads, parts, sharing, dtype=torch.float32) for _ in range(2))
        sums, out = q.new_empty(key_heads, parts, sharing, head_dim, dtype=torch.float32), torch.empty_like(q)
        with torch.cuda.device_of(q):
            attend_kernel[(key_heads, parts)](
                q, k, v, cos, sin, keys, values, position, out, peaks, totals, sums, self._done, width, sharing,
                scaling, PARTS=parts, HEAD_DIM=head_dim, HEADS=triton.next_power_of_2(sharing),
                DIM=triton.next_power_of_2(head_dim), POSITIONS=positions, STAGES=STAGES, num_warps=WARPS,
            )  # fmt: skip
        return out
