"""CocktailSGD's ops on a GPU against the same composed of PyTorch's ops, torch.topk, and the rate of a copy.

python bench/gpu_cocktail.py [--backend native] [--numel 100000000] [--device cuda] [--json FILE]

Two layouts: the defaults of CocktailConfig, and symmetric codes in groups of 128, which the composition computes, too;
the baseline of the first is the composition at the second. Runs go through one CUDA graph of several steps, so that
neither Python nor a sample that is still in the cache counts; the time of plain launches is among the facts. Before
each time tensors are as they were at first: compressed over and over they would come to nothing. Before an op is timed
its bytes are compared with those of the CPU's native op on the same inputs, and with those of a second run.

Bytes: a gradient is read, and the residual is read and written, each counted once. That the gradient is read before,
since nothing may change until all of it is known to be finite, is a cost of this way and no floor; so is what the delta
form reads twice.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from eager_cocktail import EagerCocktail
from gpu import ROUNDS, Row, Rows, arguments, graphed, seconds
from torch import Tensor

import fmcompress
from fmcompress import ops
from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.op_speeds import mean_bytes, moved_bytes
from fmcompress.ops import Layout
from fmcompress.reference.cocktail import sampled_blocks

WORKERS, STEPS = 8, 4
NUMEL, SMALL = 100_000_000, 200_000
MOST_S = {"gradient float32": 450e-6, "delta": 80e-6}  # of so many elements
LEAST_SPEEDUP = 6.0


class Op(NamedTuple):
    """An op, what it is called with, and the composition that does the same, called with what it takes."""

    name: str
    ours: Callable[..., Tensor | None]
    tensors: tuple[Tensor, ...]
    eager: Callable[[], object]
    bytes: float


def whole_blocks(numel: int) -> int:
    """Rounded up, for the composition has no last block that is shorter."""
    block = CocktailConfig().block
    return -(-numel // block) * block


def symmetric(numel: int) -> Layout:
    """The layout that the composition knows: 4 bits in groups of 128, a tenth of the blocks, a fifth of a block."""
    layout = CocktailConfig(quantizer="symmetric", group_size=128).layout(numel)
    return layout._replace(kept=max(128, layout.kept // 128 * 128))


def decompress(payload: Tensor, out: Tensor, layout: Layout) -> None:
    """What a payload decodes to, in place of what was there."""
    out.zero_()
    ops.add_payload_(payload, out, layout)


def ops_of(numel: int, layout: Layout, device: torch.device) -> Iterator[Op]:
    """Every op of a layout with inputs on the device."""
    source = torch.Generator(device).manual_seed(0)
    gradient, residual, local, shared = (torch.randn(numel, generator=source, device=device) for _ in range(4))
    half, form = gradient.bfloat16(), symmetric(numel)
    eager = EagerCocktail(form, sampled_blocks(numel, form).to(device))
    body = eager.compress_gradient_(gradient, residual.clone(), 1.0)
    payload = ops.compress_gradient_(gradient, None, layout)
    payloads = torch.stack(
        [ops.compress_gradient_(gradient, None, layout, scale=(w + 1) / WORKERS) for w in range(WORKERS)]
    )
    moved = moved_bytes(numel, payload, layout)
    for of in (gradient, half):
        yield Op(
            f"gradient {str(of.dtype).removeprefix('torch.')}",
            partial(ops.compress_gradient_, scale=0.5),
            (of, residual),
            lambda of=of: eager.compress_gradient_(of, residual, 0.5),
            (of.itemsize + 2 * residual.itemsize) * numel,
        )
    yield Op(
        "delta",
        ops.compress_delta_,
        (local, shared),
        lambda: eager.compress_delta_(local, shared),
        moved["compress_delta_"],
    )
    yield Op(
        f"mean of {WORKERS}",
        lambda rows, left, how: ops.compress_mean_(rows, left, numel, how),
        (payloads, residual),
        lambda: eager.compress_mean_([body] * WORKERS, residual),
        mean_bytes(numel, layout, WORKERS),
    )
    yield Op(
        "add_payload",
        partial(ops.add_payload_, scale=0.5),
        (payload, local),
        lambda: eager.add_payload_(body, local, 0.5),
        moved["add_payload_"],
    )
    yield Op(
        "decompress",
        decompress,
        (payload, local),
        lambda: eager.add_payload_(body, local.zero_(), 1.0),
        moved["zero_"] + layout.payload_bytes,
    )


def outcome(op: Op, layout: Layout, backend: str, device: torch.device) -> list[Tensor]:
    """What an op returns and leaves behind, of copies on a device, as bytes on the CPU."""
    tensors = [tensor.to(device, copy=True) for tensor in op.tensors]
    with fmcompress.use(backend):
        returned = op.ours(*tensors, layout)
    found = tensors if returned is None else [*tensors, returned]
    return [tensor.cpu().view(torch.uint8) for tensor in found]


def differing(op: Op, layout: Layout, backend: str, device: torch.device) -> str | None:
    """What is wrong with the bytes, if anything is: against the CPU, there against the reference, and run twice."""
    first = outcome(op, layout, backend, device)
    other = "native" if device.type == "cuda" else "reference"
    if not all(map(torch.equal, first, outcome(op, layout, other, torch.device("cpu")))):
        return f"other bytes than {other} on the CPU"
    if not all(map(torch.equal, first, outcome(op, layout, backend, device))):
        return "other bytes in a second run"
    return None


def launches(run: Callable[[], object], device: torch.device) -> int | None:
    """Kernels, and fills and copies by the driver, of one run; None on a CPU."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize(device)
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


def seconds_of(run: Callable[[], object], op: Op, device: torch.device) -> float:
    """Median time of a run that has been run once since the op's tensors were as at first."""
    before, times = [tensor.clone() for tensor in op.tensors], []
    for _ in range(ROUNDS):
        for tensor, kept in zip(op.tensors, before, strict=True):
            tensor.copy_(kept)
        times.append(seconds(run, device, 1))
    for tensor, kept in zip(op.tensors, before, strict=True):
        tensor.copy_(kept)
    return median(times)


def row_of(op: Op, form: str, layout: Layout, options: argparse.Namespace, device: torch.device) -> Row:
    """Time an op, in a graph and by plain launches, and the composition."""
    decodes = op.name in ("add_payload", "decompress") or op.name.startswith("mean")
    steps = [layout if decodes else layout._replace(step=step) for step in range(STEPS)]  # a payload has its step
    with fmcompress.use(options.backend):
        runs = [partial(op.ours, *op.tensors, step) for step in steps]
        ours, plain = seconds_of(graphed(runs, device), op, device) / STEPS, seconds_of(runs[0], op, device)
    full = options.numel == whole_blocks(NUMEL) and device.type == "cuda"
    return Row(
        "CocktailSGD",
        f"{op.name}, {options.numel} elements, {form}, {options.backend}",
        ours,
        "the same of PyTorch ops",
        seconds_of(op.eager, op, device),
        bytes=op.bytes,
        most_s=MOST_S.get(op.name) if full else None,
        least_speedup=LEAST_SPEEDUP if full else None,
        facts={
            "plain_launches_s": plain,
            "launches": launches(runs[0], device),
            "layout": layout._asdict(),
            "backend": options.backend,
        },
    )


def topk_rows(numel: int, layout: Layout, device: torch.device) -> Iterator[Row]:
    """The selection alone: of every sampled block, and as many of the whole tensor."""
    source = torch.Generator(device).manual_seed(0)
    gradient = torch.randn(numel, generator=source, device=device)
    rows = gradient[: numel // layout.block * layout.block].view(-1, layout.block)[: layout.sampled].contiguous()
    for name, of, count in (
        (f"{layout.kept} of every sampled block", rows, layout.kept),
        ("as many of the whole tensor", gradient, layout.kept * layout.sampled),
    ):
        run = partial(torch.topk, of, count, sorted=False)
        case = f"torch.topk alone, {name}, {numel} elements"
        yield Row(
            "CocktailSGD", case, seconds(run, device), bytes=of.nbytes + 12 * count * (of.numel() // of.shape[-1])
        )


def measure(options: argparse.Namespace) -> Rows:
    """All rows; what was wrong with the bytes of which op is among what failed."""
    device = torch.device(options.device)
    rows = Rows(device, small=options.small, path=options.json)
    forms = {"default layout": CocktailConfig().layout(options.numel), "symmetric in groups": symmetric(options.numel)}
    for form, layout in list(forms.items())[: 1 if options.few else None]:
        for op in ops_of(options.numel, layout, device):
            with rows.case():
                found = differing(op, layout, options.backend, device)
                if found:
                    rows.failed.append(f"{op.name}, {form}: {found}")
                rows.add(row_of(op, form, layout, options, device))
    for row in () if options.few else topk_rows(options.numel, forms["default layout"], device):
        rows.add(row)
    return rows


def main() -> None:
    """Measure, write, and fail where bytes differ."""
    parser = arguments(__doc__)
    parser.add_argument("--backend", choices=["native", "triton"], default="native")
    parser.add_argument("--few", action="store_true", help="the default layout alone, without torch.topk")
    parser.add_argument("--numel", type=int, help=f"rounded up to whole blocks; {NUMEL}, or {SMALL} with --small")
    options = parser.parse_args()
    options.numel = whole_blocks(options.numel or (SMALL if options.small else NUMEL))
    if options.device != "cpu" and options.backend == "native" and fmcompress.explain()["cuda"] != "built in":
        sys.exit(f"gpu_cocktail: no CUDA kernels: {fmcompress.explain()['cuda']}")
    with torch.no_grad():
        measure(options).end()


if __name__ == "__main__":
    main()
