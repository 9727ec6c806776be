"""What a token's pass through a decoder does beside its products, in three Triton kernels; see runtime/one_token.py."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .cocktail_arithmetic import narrowed, widened

BLOCK = 1024  # numbers of a program of gated_kernel
POSITIONS = 64  # of the cache that attend_kernel looks at at a time


@triton.jit
def rounded(value, DTYPE: tl.constexpr):
    """As a tensor of that dtype would hold it, in float32."""
    return widened(narrowed(value, DTYPE))


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


@triton.jit
def turned(x_ptr, cos_ptr, sin_ptr, half, i, inside, DTYPE: tl.constexpr):
    """Both halves of a head after the rotary embedding, each product rounded."""
    first = widened(tl.load(x_ptr + i, mask=inside, other=0))
    second = widened(tl.load(x_ptr + half + i, mask=inside, other=0))
    cos1, cos2 = (
        widened(tl.load(cos_ptr + i, mask=inside, other=0)),
        widened(tl.load(cos_ptr + half + i, mask=inside, other=0)),
    )
    sin1, sin2 = (
        widened(tl.load(sin_ptr + i, mask=inside, other=0)),
        widened(tl.load(sin_ptr + half + i, mask=inside, other=0)),
    )
    low = rounded(rounded(first * cos1, DTYPE) - rounded(second * sin1, DTYPE), DTYPE)
    high = rounded(rounded(second * cos2, DTYPE) + rounded(first * sin2, DTYPE), DTYPE)
    return low, high


@triton.jit
def attend_kernel(
    q_ptr, k_ptr, v_ptr, cos_ptr, sin_ptr, keys_ptr, values_ptr, position_ptr, out_ptr,
    width, sharing, half, scaling, HALF: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """A program to a head. Its own key is in no program's way: those of heads that share it compute it, too."""
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    head = tl.program_id(0)
    own = head // sharing
    position = tl.load(position_ptr).to(tl.int32)
    i = tl.arange(0, HALF)
    inside = i < half
    q1, q2 = turned(q_ptr + head * 2 * half, cos_ptr, sin_ptr, half, i, inside, DTYPE)
    k1, k2 = turned(k_ptr + own * 2 * half, cos_ptr, sin_ptr, half, i, inside, DTYPE)
    v_ptr += own * 2 * half
    v1 = widened(tl.load(v_ptr + i, mask=inside, other=0))
    v2 = widened(tl.load(v_ptr + half + i, mask=inside, other=0))
    first_key = own.to(tl.int64) * width * 2 * half
    if head % sharing == 0:
        place = first_key + position * 2 * half + i
        tl.store(keys_ptr + place, narrowed(k1, DTYPE), mask=inside)
        tl.store(keys_ptr + place + half, narrowed(k2, DTYPE), mask=inside)
        tl.store(values_ptr + place, narrowed(v1, DTYPE), mask=inside)
        tl.store(values_ptr + place + half, narrowed(v2, DTYPE), mask=inside)
    peak = (tl.sum(q1 * k1, 0) + tl.sum(q2 * k2, 0)) * scaling
    total = 1.0
    for begin in range(0, position, POSITIONS):
        t = begin + tl.arange(0, POSITIONS)
        before = t < position  # its own is counted already
        both = before[:, None] & inside[None, :]
        places = first_key + t[:, None] * 2 * half + i[None, :]
        low = widened(tl.load(keys_ptr + places, mask=both, other=0))
        high = widened(tl.load(keys_ptr + places + half, mask=both, other=0))
        value1 = widened(tl.load(values_ptr + places, mask=both, other=0))
        value2 = widened(tl.load(values_ptr + places + half, mask=both, other=0))
        score = (tl.sum(low * q1[None, :], 1) + tl.sum(high * q2[None, :], 1)) * scaling
        score = tl.where(before, score, float("-inf"))
        most = tl.maximum(peak, tl.max(score, 0))
        shrunk, share = tl.exp(peak - most), tl.exp(score - most)
        total = total * shrunk + tl.sum(share, 0)
        v1 = v1 * shrunk + tl.sum(share[:, None] * value1, 0)
        v2 = v2 * shrunk + tl.sum(share[:, None] * value2, 0)
        peak = most
    out_ptr += head * 2 * half
    tl.store(out_ptr + i, narrowed(v1 / total, DTYPE), mask=inside)
    tl.store(out_ptr + half + i, narrowed(v2 / total, DTYPE), mask=inside)


class TritonKernels:
    """fmcompress.runtime.one_token.Kernels; the tensors are contiguous."""

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
        out, heads, half = torch.empty_like(q), q.shape[-1] // head_dim, head_dim // 2
        with torch.cuda.device_of(q):
            attend_kernel[(heads,)](
                q, k, v, cos, sin, keys, values, position, out, width, heads // key_heads, half, scaling,
                HALF=triton.next_power_of_2(half), POSITIONS=POSITIONS, num_warps=8,
            )  # fmt: skip
        return out
