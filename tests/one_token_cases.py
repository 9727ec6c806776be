"""What a decoder does for a token beside its products, held against its definition in torch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fmcompress.runtime.one_token import TorchKernels

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
# key heads, heads of one, head_dim, width, position
SHORT = [(2, 2, 16, 64, 0), (1, 4, 24, 64, 63), (2, 1, 8, 192, 70), (3, 2, 64, 128, 64)]
LONG = [(2, 4, 128, 64, 40), (1, 7, 128, 96, 70)]  # of several tiles


def attention_arguments(case: tuple[int, int, int, int, int], dtype: torch.dtype) -> list[Tensor | float]:
    """Of Kernels.attend."""
    key_heads, sharing, head_dim, width, position = case
    generator = torch.Generator().manual_seed(position)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    q, k, v = drawn(1, key_heads * sharing * head_dim), drawn(1, key_heads * head_dim), drawn(1, key_heads * head_dim)
    angles = torch.rand(1, 1, head_dim // 2, generator=generator).repeat(1, 1, 2) * 6
    cache = [drawn(1, key_heads, width, head_dim) for _ in range(2)]
    return [q, k, v, angles.cos().to(dtype), angles.sin().to(dtype), *cache, torch.tensor([[position]]), 0.3]


def there(arguments, device: str) -> list:
    return [part.to(device) if isinstance(part, Tensor) else part for part in arguments]


def attention_beside(kernels, device: str, dtype: torch.dtype, cases) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What, expected and actual, of a cache that is NaN where nothing may be read; torch multiplies all by zero."""
    torch_kernels, beyond = TorchKernels(), 0.0 if isinstance(kernels, TorchKernels) else torch.nan
    for case in cases:
        arguments = attention_arguments(case, dtype)
        position = case[-1]
        moved = there((part.clone() if isinstance(part, Tensor) else part for part in arguments), device)
        for cache in moved[5:7]:
            cache[:, :, position:] = beyond  # its own place is written, those after it are never read
        actual = kernels.attend(*moved)
        yield f"attention {case}", torch_kernels.attend(*arguments), actual.cpu()
        for name, expected, cache in zip(("keys", "values"), arguments[5:7], moved[5:7], strict=True):
            yield f"{name} {case}", expected[:, :, : position + 1], cache[:, :, : position + 1].cpu()
            rest = cache[:, :, position + 1 :]
            assert torch.allclose(rest, torch.full_like(rest, beyond), equal_nan=True)


def rest_beside(kernels, device: str, dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What, expected and actual."""
    torch_kernels = TorchKernels()
    generator = torch.Generator().manual_seed(0)
    for cols in (1, 100, 1500):
        x, residual, weight = (torch.randn(1, cols, generator=generator).to(dtype) for _ in range(3))
        for added in (None, x):
            arguments = [added, residual, weight[0], 1e-5]
            expected, actual = torch_kernels.add_norm(*arguments), kernels.add_norm(*there(arguments, device))
            yield f"sum {cols}", expected[0], actual[0].cpu()
            yield f"norm {cols}", expected[1], actual[1].cpu()
        yield f"gated {cols}", torch_kernels.gated(x, residual), kernels.gated(*there([x, residual], device)).cpu()


def check_kernels(kernels, device: str = "cpu", dtypes=tuple(TOLERANCE)) -> None:
    """Hold an implementation of Kernels against torch's."""
    check_attention(kernels, device, dtypes, SHORT + LONG)
    for dtype in dtypes:
        check(rest_beside(kernels, device, dtype), dtype)


def check_attention(kernels, device: str, dtypes, cases) -> None:
    for dtype in dtypes:
        check(attention_beside(kernels, device, dtype, cases), dtype)


def check(results: Iterator[tuple[str, Tensor, Tensor]], dtype: torch.dtype) -> None:
    for what, expected, actual in results:
        assert actual.dtype == dtype, what
        assert actual.shape == expected.shape, what
        if dtype != torch.float32 and not what.startswith("attention"):
            assert (actual == expected).double().mean() > 0.97, f"{what}, {dtype}: rounded elsewhere"
        off = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
        assert off <= TOLERANCE[dtype], f"{what}, {dtype}: {off:.2g}"  # NaN, too
