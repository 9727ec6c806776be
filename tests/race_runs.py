"""Small calls of every emulated op that cross warps, tiles and thread blocks: what the race checker looks at."""

import ctypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cocktail_cases
import cocktail_emulation
import emulation
import packed_cases
import packed_emulation
import torch
from kernel_cases import awkward_scores, grids, sweep_inputs
from packing_cases import any_bytes, refuses
from torch import Tensor

DTYPES = (torch.float32, torch.float64)
Runs = Iterator[tuple[str, Callable[[], object]]]


def selections(library: ctypes.CDLL, backwards: bool) -> Runs:
    shapes = {emulation.Route.counting: (9, 7), emulation.Route.block: (2, 700), emulation.Route.grid: (2, 9000)}
    for route, shape in shapes.items():
        ops = emulation.Ops(library, backwards, route)
        for dtype in DTYPES:
            scores = awkward_scores(shape, dtype)
            yield f"select {route.name} {dtype}", lambda ops=ops, s=scores: ops.select_smallest(s, s.shape[1] // 2)
    scores = torch.zeros(1, 600)
    yield "select among ties", lambda: ops.select_smallest(scores, 100)


def admm_step(ops: emulation.Ops) -> Tensor:
    x, dual, target = (awkward_scores((33, 130), torch.float32) + part for part in range(3))
    return ops.admm_step_(x, dual, x > 0, target, 0.3, 0.37, 50, 0, 0, True)


def sweeps(ops: emulation.Ops) -> Runs:
    for rows, cols, keep, group in ((33, 18, 0, 0), (33, 60, 1, 4), (9, 41, 20, 41), (37, 64, 4, 8)):
        _, weight, factor = next(sweep_inputs(rows, cols, torch.float32))
        scale, zero = grids(rows, 4, torch.float32)
        prune = None if group else weight > 0
        yield (
            f"sweep {keep}:{group}",
            lambda w=weight, f=factor, p=prune, k=keep, g=group: ops.sweep_block_(w, f, p, k, g),
        )
        rest = (scale[:, None], zero[:, None], 4, keep, group)
        yield f"joint {keep}:{group}", lambda w=weight, f=factor, p=prune, r=rest: ops.joint_sweep_block_(w, f, p, *r)


def factors(ops: emulation.Ops) -> Runs:
    for n in (40, 123):
        square = awkward_scores((n, n), torch.float32).nan_to_num(0.0, 1.0, -1.0)
        for dtype in DTYPES:
            matrices = torch.stack([square @ square.T + n * torch.eye(n), torch.eye(n)]).to(dtype)
            yield f"factor {n} {dtype}", lambda m=matrices: ops.factor_block(m)


def quantizations(ops: emulation.Ops) -> Runs:
    for rows, cols in ((130, 32), (5, 33), (7, 700), (2, 1500)):
        weight = awkward_scores((rows, cols), torch.float32)
        scale, zero = grids(rows, 4, torch.float32)
        yield f"search {rows} {cols}", lambda w=weight: ops.search_grid(w, 3, False, 13)
        yield f"quantize {rows} {cols}", lambda w=weight, s=scale, z=zero: ops.quantize(w.nan_to_num(), s, z, 4)
        codes = any_bytes(rows, cols)
        yield f"dequantize {rows} {cols}", lambda c=codes, s=scale, z=zero: ops.dequantize(c, s, z)
        for bits in (3, 8):
            yield (
                f"{bits} bits {rows} {cols}",
                lambda c=codes, b=bits: ops.unpack_codes(ops.pack_codes(c, b), b, c.shape[1]),
            )


def bitmasks(ops: emulation.Ops) -> Runs:
    values, stray = any_bytes(3, 9003), torch.full((600, 3), 255, dtype=torch.uint8)
    mask = values < 100
    yield "pack", lambda: ops.unpack_bitmask(*ops.pack_bitmask(values, mask, int(mask.sum())), 9003)
    yield "stray bits", lambda: refuses(lambda: ops.unpack_bitmask(stray, values[0], 17))
    yield "scan", lambda: ops.scan(torch.arange(2100))


def kernels(library: ctypes.CDLL, backwards: bool) -> Runs:
    ops = emulation.Ops(library, backwards)
    yield from selections(library, backwards)
    yield "admm", lambda: admm_step(ops)
    yield "weighted sum", lambda: ops.weighted_sum_(torch.empty(1029), torch.rand(3, 1029).half(), torch.rand(3))
    yield from sweeps(ops)
    yield from factors(ops)
    yield from quantizations(ops)
    yield from bitmasks(ops)


def packed(library: ctypes.CDLL, backwards: bool) -> Runs:
    op = packed_emulation.PackedLinear(library, backwards)
    cases = list(packed_cases.every_case())
    for case, x, rest in cases[: len(cases) // 2]:
        yield str(case), lambda x=x, rest=rest: op(x, *rest)
    for case, x, rest in list(packed_cases.spans())[::2]:
        yield str(case), lambda x=x, rest=rest: op(x, *rest)
    for name, cols, rest, _ in packed_cases.contradictions():
        yield name, lambda cols=cols, rest=rest: op(torch.ones(2, cols), *rest)


def cocktail(library: ctypes.CDLL, backwards: bool) -> Runs:
    ops = cocktail_emulation.Ops(library, backwards)
    for name in cocktail_cases.ARGUMENTS:
        some = cocktail_cases.CASES[:: 16 if name == "compress_mean_" else 11]
        yield name, lambda name=name, some=some: cocktail_cases.check_op(name, getattr(ops, name), some)
    yield "checksum", lambda: ops.payload_checksum(torch.ones(4 * 9001, dtype=torch.uint8))


LIBRARIES = {
    "kernels": (emulation, kernels),
    "packed": (packed_emulation, packed),
    "cocktail": (cocktail_emulation, cocktail),
}


def library_of(path: Path) -> str:
    """Whose runs look at a header's barriers."""
    return next((name for name in ("packed", "cocktail") if path.name.startswith(name)), "kernels")


def barriers(root: Path, library: str) -> Iterator[tuple[str, int]]:
    """File and line of every barrier of a library's kernels but those that are spare, and say why."""
    for path in sorted((root / "csrc/cuda").glob("*.cuh")):
        for line, text in enumerate(path.read_text().splitlines(), 1):
            code, _, comment = text.partition("//")
            barrier = re.search(r"\b__sync(threads|warp)\w*\(", code) and not comment.startswith(" spare:")
            if barrier and library_of(path) == library:
                yield path.name, line
