"""Every kernel of pruning, quantization, packing and merging alone on a GPU, against eager PyTorch that does the same.

CocktailSGD, products with packed weights, factors, Hessians, whole solves and decoding have benches of their own:
gpu_cocktail.py, gpu_linear.py, gpu_factor.py, gpu_hessian.py, gpu_solve.py, gpu_attend.py, gpu_decode.py. Each result
is checked against the baseline's before it is timed; a case whose result is another is left out, and the bench ends
with 1.

Both are launched alike: by one CUDA graph over several copies of the inputs, without Python, and from memory where the
copies are more than the cache holds; a column block's are not, which a solve finds in the cache, too. What reads a
number back goes by plain launches over the copies, both ours and the baseline. Nobody runs PyTorch's ops in a graph by
hand: the time of the baseline's plain launches is among the facts, and is no part of the speedup.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu import Row, Rows, arguments, cache_bytes, graphed, seconds
from torch import Tensor

import fmcompress
from fmcompress import ops

GROUP = "single ops"
MOST_COPIES = 8


@dataclass(frozen=True)
class Case:
    """One op at one shape.

    call      our op, of the tensors
    tensors   what it is given, new ones for every copy
    changed   the places of the tensors that it changes
    baseline  in words; it is the reference, the definition in plain PyTorch, unless `eager` is another function
    exact     whether results must be equal; otherwise close
    bytes     that must move
    waits     whether the op reads a number back, which no graph can hold
    """

    name: str
    call: Callable[..., Any]
    tensors: list[Tensor]
    bytes: float
    flops: float = 0.0
    changed: tuple[int, ...] = ()
    eager: Callable[..., Any] | None = None
    baseline: str = "reference in PyTorch"
    exact: bool = True
    waits: bool = False


def make_cases(device: torch.device, rows: int, cols: int) -> list[Case]:
    """All of them, for a weight [rows, cols]."""
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    weight, numel = random(rows, cols), rows * cols
    half = weight.to(torch.bfloat16)
    scores, mask = weight.abs(), random(rows, cols) > 0
    cases = [*_selecting(scores), *_sweeping(random, rows), *_rounding(weight), *_packing(half, mask)]
    x, dual, target = random(rows, cols), random(rows, cols), weight
    cases.append(
        Case(
            "admm_step_, half of all",
            lambda *given: ops.admm_step_(*given, 0.3, 0.37, prune=numel // 2),
            [x, dual, mask, target],
            numel * (3 * 4 + 2 * 4 + 2 + 4 * 4),  # the selection reads what the first pass wrote
            changed=(0, 1, 2),
            exact=False,
        )
    )
    sources, weights = random(3, numel).to(torch.bfloat16), torch.tensor([0.5, 0.25, 0.25], device=device)
    sums = torch.zeros(numel, dtype=torch.bfloat16, device=device)
    merge = lambda out, *given: ops.weighted_sum_(out, *given)  # noqa: E731
    cases.append(Case("weighted_sum_, 3 x bfloat16", merge, [sums, sources, weights], numel * 8, changed=(0,)))
    return cases


def _selecting(scores: Tensor) -> list[Case]:
    rows, cols = scores.shape
    numel, block = rows * cols, scores[:, :128].contiguous().view(1, -1)

    def smallest(scores: Tensor) -> Tensor:
        return ops.select_smallest(scores, scores.shape[1] // 2)

    def by_topk(scores: Tensor) -> Tensor:
        chosen = scores.topk(scores.shape[1] // 2, dim=1, largest=False, sorted=False).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, True)

    named = {"block": block, "layer": scores.view(1, -1), "each row": scores}
    cases = [
        Case(f"select_smallest, {name} {list(given.shape)}", smallest, [given], given.numel() * 5, eager=by_topk,
             baseline="torch.topk and scatter_", exact=False)  # of equal scores topk takes any
        for name, given in named.items()
    ]  # fmt: skip
    return [*cases, Case("nm_mask, 2:4", lambda scores: ops.nm_mask(scores, 2, 4), [scores], numel * 5)]


def _sweeping(random: Callable[..., Tensor], rows: int) -> list[Case]:
    block, factor = random(rows, 128), random(128, 128).mul_(0.05).triu(1)
    factor += torch.eye(128, device=factor.device)
    prune, moved, flops = block.abs() < 0.67, block.numel() * 8, float(rows * 128 * 128)
    scale, zero = ops.search_grid(block, 4)
    grids = [scale[:, None], zero[:, None]]

    def jointly(block: Tensor, factor: Tensor, scale: Tensor, zero: Tensor, prune: Tensor) -> Any:
        return ops.joint_sweep_block_(block, factor, scale, zero, 4, prune)

    return [
        Case("sweep_block_, a mask", ops.sweep_block_, [block, factor, prune], moved + block.numel(), flops, (0,),
             exact=False),
        Case("sweep_block_, 2:4", lambda *given: ops.sweep_block_(*given, keep=2, group=4), [block, factor], moved,
             flops, (0,), exact=False),
        Case("joint_sweep_block_, a mask", jointly, [block, factor, *grids, prune], moved + 2 * block.numel(), flops,
             (0,), exact=False),
    ]  # fmt: skip


def _rounding(weight: Tensor) -> list[Case]:
    segments, numel = weight.view(-1, 128), weight.numel()
    scale, zero = ops.search_grid(segments, 4)
    codes = ops.quantize(segments, scale, zero, 4)
    flat = codes.view(weight.shape)
    packed = ops.pack_codes(flat, 4)
    search = lambda weight: ops.search_grid(weight, 4)  # noqa: E731
    return [
        Case("search_grid, 4 bits", search, [segments], numel * 4),
        Case("quantize, 4 bits", lambda *given: ops.quantize(*given, 4), [segments, scale, zero], numel * 5),
        Case("dequantize", ops.dequantize, [codes, scale, zero], numel * 5),
        Case("pack_codes, 4 bits", lambda codes: ops.pack_codes(codes, 4), [flat], numel * 1.5),
        Case("unpack_codes, 4 bits", lambda codes: ops.unpack_codes(codes, 4, flat.shape[1]), [packed], numel * 1.5),
    ]


def _packing(weight: Tensor, mask: Tensor) -> list[Case]:
    numel, cols = weight.numel(), weight.shape[1]
    count = int(mask.sum())
    bitmask, kept = ops.pack_bitmask(weight, mask, count)
    moved = numel * (1 / 8 + 2) + 2 * count
    pack = lambda *given: ops.pack_bitmask(*given, count)  # noqa: E731
    return [
        Case("pack_bitmask, half", pack, [weight, mask], moved + numel, waits=True),
        Case(
            "unpack_bitmask, half", lambda *given: ops.unpack_bitmask(*given, cols), [bitmask, kept], moved, waits=True
        ),
    ]


def results(case: Case, call: Callable[..., Any]) -> list[Tensor]:
    """What a call returns and what it changes."""
    given = [tensor.clone() for tensor in case.tensors]
    returned = call(*given)
    several = returned if isinstance(returned, tuple) else (returned,)
    return [*(part for part in several if isinstance(part, Tensor)), *(given[place] for place in case.changed)]


def differs(case: Case, found: list[Tensor], wanted: list[Tensor]) -> bool:
    """Whether a result is neither the baseline's nor, where that will do, near it."""
    for ours, theirs in zip(found, wanted, strict=True):
        if case.exact or not ours.is_floating_point():
            share = float((ours != theirs).double().mean()) if ours.numel() else 0.0
            wrong = share > (0.0 if case.exact else 1e-3)  # an ulp of another order of sums may flip a choice
        else:
            wrong = not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3) and _off(ours, theirs) > 1e-3
        if wrong:
            return True
    return False


def _off(ours: Tensor, theirs: Tensor) -> float:
    return float(torch.linalg.vector_norm((ours - theirs).float()) / torch.linalg.vector_norm(theirs.float()))


def timed(case: Case, runs: list[Callable[[], Any]], device: torch.device, rounds: int) -> float:
    """Seconds of one of the runs."""
    if case.waits:
        return seconds(runs, device, rounds)
    return seconds(graphed(runs, device), device, rounds) / len(runs)


def by(name: str, case: Case) -> Callable[..., Any]:
    """Our op by one back-end."""

    def call(*given: Tensor) -> Any:
        with fmcompress.use(name):
            return case.call(*given)

    return call


def measure(rows: Rows, case: Case, backends: list[str], rounds: int) -> None:
    """One op by each back-end, and its baseline once."""
    device = rows.device
    eager, size = case.eager or by("reference", case), sum(tensor.nbytes for tensor in case.tensors)
    copies = [
        [tensor.clone() for tensor in case.tensors]
        for _ in range(min(MOST_COPIES, max(1, 4 * cache_bytes(device) // max(1, size))))
    ]
    wanted, theirs, few = results(case, eager), [partial(eager, *given) for given in copies], max(3, rounds // 4)
    base, plain = timed(case, theirs, device, few), seconds(theirs, device, few)
    facts = {"in a graph": not case.waits, "copies": len(copies), "baseline_plain_launches_s": plain}
    for backend in backends:
        name, ours = f"{case.name}, {backend}", by(backend, case)
        with rows.case():
            if differs(case, results(case, ours), wanted):
                sys.exit(f"{name}: the result is not the baseline's, nor near it")
            took = timed(case, [partial(ours, *given) for given in copies], device, rounds)
            rows.add(Row(GROUP, name, took, case.baseline, base, case.bytes, case.flops, facts=facts))


def main() -> None:
    """Measure every op, native and Triton."""
    parser = arguments(__doc__)
    parser.add_argument("--backends", default="native,triton")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = Rows(device, small=options.small, path=options.json)
    shape = (64, 256) if options.small else (4096, 4096)
    backends = [name for name in options.backends.split(",") if name != "triton" or device.type == "cuda"]
    with torch.no_grad():
        for case in make_cases(device, *shape):
            with rows.case():
                measure(rows, case, backends, 2 if options.small else options.rounds)
    rows.end()


if __name__ == "__main__":
    main()
