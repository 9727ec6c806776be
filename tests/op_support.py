"""What the tests of ops share: inputs, layouts, the back-ends side by side, and a sample call of every op."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fmcompress import _backends, available, ops, reference, use

DTYPES = [torch.float32, torch.float64]
# rtol, atol of a sweep of 128 columns: other orders of summation and fused products, grown through the feedback
TOLERANCE = {torch.float32: (1e-4, 1e-6), torch.float64: (1e-11, 1e-14)}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = [(130, 128), (64, 123), (7, 1), (0, 128), (1, 128), (33, 8), (3, 5), (257, 64)]
SPECIAL = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.0, -1.0, 5e-324, 1e-45, 3e38]

needs_native = pytest.mark.skipif("native" not in available("nm_mask"), reason="the native library is not built")
on_devices = pytest.mark.parametrize(
    "device", [pytest.param(d, marks=[pytest.mark.cuda] * (d == "cuda")) for d in DEVICES]
)
with_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
with_bits = pytest.mark.parametrize("bits", ops.BITS)
on_backends = pytest.mark.parametrize("backend", ["reference", pytest.param("native", marks=needs_native)])


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def few_values(*shape, dtype=torch.float64, seed=0):
    """Scores full of ties, NaN, infinities and zeros of both signs."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor(SPECIAL, dtype=torch.float64).to(dtype)
    return values[torch.randint(len(values), shape, generator=generator)]


def any_codes(*shape, bits=8, seed=0):
    return torch.randint(2**bits, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def both(op, *arguments, **options):
    """(reference, dispatched) results of a pure op."""
    with use("reference"):
        expected = op(*arguments, **options)
    with use("native"):
        return expected, op(*arguments, **options)


def bits_of(tensor):
    """The bits of floats, so that 0.0 is not -0.0."""
    return tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int64)


def layouts(tensor):
    """The same values as views: strided, transposed, offset by some elements."""
    rows, cols = tensor.shape
    wide = tensor.new_full((rows, 2 * cols + 1), 7.0)
    wide[:, 1::2] = tensor
    flat = tensor.new_full((tensor.numel() + 3,), 7.0)
    flat[3:] = tensor.reshape(-1)
    views = {"strided": wide[:, 1::2], "transposed": tensor.t().contiguous().t(), "offset": flat[3:].view(rows, cols)}
    views["reversed rows"] = tensor.flip(0).contiguous()[torch.arange(rows - 1, -1, -1)]
    views["column slice"] = torch.cat([tensor, tensor], 1)[:, :cols]
    return views


def swept(backend, weight, factor, prune, keep=0, group=0):
    """(new weight, loss) of a sweep of a copy."""
    work = weight.clone()
    with use(backend):
        return work, ops.sweep_block_(work, factor, prune, keep=keep, group=group)


def swept_jointly(backend, weight, factor, scale, zero, bits, prune=None, keep=0, group=0):
    """(new weight, loss, codes) of a joint sweep of a copy."""
    work = weight.clone()
    with use(backend):
        return work, *ops.joint_sweep_block_(work, factor, scale, zero, bits, prune, keep=keep, group=group)


EYE = torch.eye(8)
GRID = torch.full((3,), 0.5), torch.full((3,), 8, dtype=torch.uint8)
LAYOUT = ops.Layout(0, 0, 0, block=128, sampled=1, kept=3, bits=4, group=2, symmetric=True)
PAYLOAD = reference.compress_gradient_(torch.ones(3), None, 1.0, *LAYOUT)
LINKS = random(4, 5, 5).square()
PLAN = torch.tensor([0, 1, -1, 1, 0]), LINKS + LINKS.mT, random(2, 5).square(), random(2).square(), 3, False
# one small call of every public function
CALLS = {
    "select_smallest": lambda: ops.select_smallest(torch.ones(3, 8), 2),
    "nm_mask": lambda: ops.nm_mask(torch.ones(3, 8), 2, 4),
    "sweep_block_": lambda: ops.sweep_block_(torch.ones(3, 8), EYE, torch.ones(3, 8) > 0),
    "admm_step_": lambda: ops.admm_step_(*(torch.ones(3, 8) for _ in range(2)), EYE[:3] > 0, EYE[:3], 1, 2, prune=5),
    "search_grid": lambda: ops.search_grid(torch.ones(3, 8), 4),
    "quantize": lambda: ops.quantize(torch.ones(3, 8), *GRID, 4),
    "dequantize": lambda: ops.dequantize(any_codes(3, 8), *GRID),
    "joint_sweep_block_": lambda: ops.joint_sweep_block_(torch.ones(3, 8), EYE, *(t[:, None] for t in GRID), 4),
    "pack_codes": lambda: ops.pack_codes(any_codes(3, 8), 4),
    "unpack_codes": lambda: ops.unpack_codes(any_codes(3, 4), 4, 8),
    "pack_bitmask": lambda: ops.pack_bitmask(torch.ones(3, 8), torch.ones(3, 8) > 0),
    "unpack_bitmask": lambda: ops.unpack_bitmask(torch.full((3, 1), 3, dtype=torch.uint8), torch.ones(6), 8),
    "packed_linear": lambda: ops.packed_linear(torch.ones(2, 8), any_codes(3, 4), bits=4, scale=torch.ones(3, 1)),
    "compress_gradient_": lambda: ops.compress_gradient_(torch.ones(3), torch.ones(3), LAYOUT),
    "compress_delta_": lambda: ops.compress_delta_(torch.ones(3), torch.zeros(3), LAYOUT),
    "compress_mean_": lambda: ops.compress_mean_(PAYLOAD[None], torch.ones(3), 3, LAYOUT),
    "add_payload_": lambda: ops.add_payload_(PAYLOAD, torch.ones(3), LAYOUT),
    "payload_checksum": lambda: ops.payload_checksum(PAYLOAD),
    "plan_cost": lambda: ops.plan_cost(*PLAN),
    "improve_plan": lambda: ops.improve_plan(*PLAN, seed=1, evaluations=9),
    "low_rank_rows_": lambda: ops.low_rank_rows_(torch.ones(3, 8), EYE[:3], EYE[:2], -EYE[:2]),
    "nearest_rows": lambda: ops.nearest_rows(torch.ones(3, 8), EYE[:2]),
    "factor_block": lambda: ops.factor_block(EYE),
    "weighted_sum_": lambda: ops.weighted_sum_(torch.ones(8), EYE[:2], torch.ones(2)),
}


def results(weight, factor, prune, codes):
    """What every native op makes of one block of float32 or float64; the names of sweeps begin with "sweep"."""
    rows, cols = weight.shape
    out = {"select": ops.select_smallest(weight, 40), "nm": ops.nm_mask(weight, 2, 4)}
    for kind, mask in (("given", prune), ("chosen", None)):
        out[f"sweep {kind} weight"], out[f"sweep {kind} loss"] = swept("native", weight, factor, mask, 2, 4)
    for kind, choice in {
        "matrix": {"prune": 99},
        "row": {"prune": 9, "by_row": True},
        "4:4": {"keep": 2, "group": 4},
    }.items():
        step = weight.clone(), weight.flip(0), prune.clone()
        out[f"step {kind} changed"] = ops.admm_step_(*step, weight, 0.3, 0.37, **choice)
        out |= {f"step {kind} {i}": part for i, part in enumerate(step)}
    for bits in ops.BITS:
        segments = weight.reshape(-1, cols // 2)
        scale, zero = ops.search_grid(segments, bits, symmetric=bits != 3)
        quantized = ops.quantize(segments, scale, zero, bits)
        out |= {f"scale {bits}": scale, f"zero {bits}": zero, f"codes {bits}": quantized}
        out[f"dequantized {bits}"] = ops.dequantize(quantized, scale, zero)
        out[f"packed {bits}"] = ops.pack_codes(codes, bits)
        out[f"unpacked {bits}"] = ops.unpack_codes(out[f"packed {bits}"], bits, cols)
    row, own = ops.search_grid(weight, 4), [t.view(rows, 2).repeat_interleave(cols // 2, 1) for t in (scale, zero)]
    for kind, mask, bits, grid in (("row", prune, 4, [t[:, None] for t in row]), ("own", None, 8, own)):
        for part, tensor in zip(
            ("weight", "loss", "codes"), swept_jointly("native", weight, factor, *grid, bits, mask), strict=True
        ):
            out[f"sweep {kind} {part}"] = tensor
    for values in (codes, codes.view(torch.int8).to(torch.float16), weight.float()):
        name = str(values.dtype)
        out[f"bitmask {name}"], kept = ops.pack_bitmask(values, prune)
        out |= {f"kept {name}": kept, f"dense {name}": ops.unpack_bitmask(out[f"bitmask {name}"], kept, cols)}
    return out


def run_on_instruction_set(asked, runs, code):
    """Run code, which gets `runs` as its argument, in a process where ATEN_CPU_CAPABILITY asks for fewer instructions."""
    here = _backends._C.cpu_capability()
    if here == runs or (here == "baseline" and runs == "AVX2"):
        pytest.skip(f"this process runs {here} itself, or the CPU has no more")
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": asked, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code, runs], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
