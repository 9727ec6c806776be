"""Packed weights of every form that every implementation of packed_linear must get right, checked in float64."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import torch
from packing_cases import shifted
from torch import Tensor

from fmcompress import ops, reference

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
# of the sum of |x| |w|: sums in float32, one rounding of the result, for many tokens one of each weight
TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 1.2e-2, torch.float16: 1e-3}
SHAPES = [(3, 64), (2, 40), (3, 1000), (1, 1), (2, 129), (5, 31), (3, 2055), (0, 48), (4, 0), (9, 320), (1, 4200)]
PLACED = [(3, 120), (2, 1080), (0, 480), (3, 0), (1, 3360)]
SPANS = [(3, 128), (17, 1024), (33, 384), (5, 4224)]
TOKENS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 20)
GROUP_SIZES = (0, 32, 64, 128, 5, 48, 1)
PATTERNS = ((2, 4), (4, 8), (1, 2), (1, 1), (3, 5), (2, 6), (5, 12), (16, 24), (20, 60), (2, 120))


@dataclass(frozen=True)
class Form:
    """What is stored of a weight: codes of `bits` or values, and where it belongs."""

    places: str  # all, mask, pattern
    bits: int = 0
    numbers: torch.dtype = torch.float32  # of values or scales
    group_size: int = 0
    asymmetric: bool = False
    keep: int = 0
    group: int = 0


def forms() -> Iterator[Form]:
    """Every width with every place, each option at least once with each."""
    numbers, sizes, patterns = cycle(FLOATS), cycle(GROUP_SIZES), cycle(PATTERNS)
    for bits in ops.BITS:
        for i in range(7):
            yield Form("all", bits, next(numbers), next(sizes), i % 2 == 1)
        for i in range(7):
            yield Form("mask", bits, next(numbers), next(sizes), i % 2 == 0)
        for i in range(5):
            yield Form("pattern", bits, next(numbers), next(sizes), i % 2 == 0, *next(patterns))
    for dtype in FLOATS:
        yield from (Form("mask", 0, dtype), Form("mask", 0, dtype))
        for _ in range(4):
            yield Form("pattern", 0, dtype, 0, False, *next(patterns))


def packed(form: Form, rows: int, cols: int, bias: bool, dtype: torch.dtype, seed: int = 0) -> list:
    """The arguments of the op after x."""
    source = torch.Generator().manual_seed(seed)
    bitmask = starts = indices = scale = zero = None
    kept = cols
    if form.places == "mask":
        mask = torch.rand(rows, cols, generator=source) < 0.5
        mask[1:2], mask[2:3] = False, True
        bitmask = reference.pack_bitmask(mask, mask, int(mask.sum()))[0]
        starts, kept = ops.row_starts(bitmask), int(mask.sum())
    elif form.places == "pattern":
        kept = cols // form.group * form.keep
        places = torch.rand(rows, cols // form.group, form.group, generator=source).argsort(2)[:, :, : form.keep]
        places = places.sort(2).values.to(torch.uint8).view(rows, kept)
        indices = reference.pack_codes(places, ops.index_bits(form.group))
    shape = (1, kept) if form.places == "mask" else (rows, kept)
    if form.bits:
        codes = torch.randint(1 << form.bits, shape, generator=source, dtype=torch.uint8)
        entries = reference.pack_codes(codes, form.bits)
        groups = -(-cols // max(1, min(form.group_size or cols, cols)))
        scale = (torch.rand(rows, groups, generator=source) + 0.1).to(form.numbers)
        if form.asymmetric:
            zero = torch.randint(1 << form.bits, (rows, groups), generator=source, dtype=torch.uint8)
            zero = reference.pack_codes(zero, form.bits)
    else:
        entries = torch.randn(shape, generator=source).to(form.numbers)
    entries = entries[0] if form.places == "mask" else entries
    offset = torch.randn(rows, generator=source).to(dtype) if bias else None
    return [entries, bitmask, starts, indices, scale, zero, offset, form.bits, form.group_size, form.keep, form.group]


def every_case() -> Iterator[tuple[tuple, Tensor, list]]:
    """Names, x and the arguments after it: all forms, and shapes, tokens and dtypes in turn."""
    shapes, placed, tokens, dtypes = cycle(SHAPES), cycle(PLACED), cycle(TOKENS), cycle((*FLOATS, torch.bfloat16))
    for seed, form in enumerate((*forms(), *forms())):
        rows, cols = next(placed) if form.places == "pattern" else next(shapes)
        dtype, count = next(dtypes), next(tokens)
        x = torch.randn(count, cols, generator=torch.Generator().manual_seed(seed)).to(dtype)
        yield (form, rows, cols, count, dtype, seed), x, packed(form, rows, cols, seed % 3 == 0, dtype, seed)


def spans() -> Iterator[tuple[tuple, Tensor, list]]:
    """As every_case, of shapes and groups that kernels for tensor cores take: whole spans of 128 columns, few tokens."""
    numbers, sizes, shapes, tokens = cycle(FLOATS), cycle((128, 32, 0, 64, 256)), cycle(SPANS), cycle(TOKENS[:8])
    places = (("all", 0, 0), ("mask", 0, 0), ("pattern", 2, 4))
    forms = [(place, bits) for place in places for bits in (0, *ops.BITS) if bits or place[0] != "all"]
    for seed, ((place, keep, group), bits) in enumerate(form for form in forms for _ in range(5)):
        form = Form(place, bits, next(numbers), next(sizes), seed % 2 == 0, keep, group)
        dtype = form.numbers if bits == 0 else FLOATS[1 + seed // 2 % 2]
        rows, cols = next(shapes)
        x = torch.randn(next(tokens), cols, generator=torch.Generator().manual_seed(seed)).to(dtype)
        yield (form, rows, cols, len(x), dtype, seed), x, packed(form, rows, cols, seed % 3 == 0, dtype, seed)


def moved(rest: list, change: Callable[[Tensor], Tensor]) -> list:
    """The arguments, their tensors changed."""
    return [change(part) if isinstance(part, Tensor) else part for part in rest]


def weight_of(cols: int, rest: list) -> Tensor:
    """The dense weight in float64, by the definition."""
    return reference.packed_linear(torch.eye(cols, dtype=torch.float64), *rest[:6], None, *rest[7:]).T


def assert_close(actual: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, case: object) -> None:
    """Against the product in float64."""
    offset = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()
    expected = x.double() @ weight.T + offset
    size = x.double().abs() @ weight.abs().T + offset.abs()
    assert (actual.shape, actual.dtype) == (expected.shape, x.dtype), case
    assert ((actual.double() - expected).abs() <= TOLERANCE[x.dtype] * size + 1e-30).all(), case


def check_packed_linear(packed_linear: Callable[..., Tensor], device: str = "cpu") -> None:
    """Every form in the order of every_case, also where nothing begins at the boundary of a wide load."""
    for case, x, rest in every_case():
        weight = weight_of(x.shape[1], rest)
        for change in (lambda tensor: tensor, shifted) if case[-1] % 2 else (shifted,):
            here = moved([x, *rest], lambda part, change=change: change(part.to(device)))
            assert_close(packed_linear(*here).cpu(), x, weight, rest[6], case)
    for case, x, rest in spans():
        here = moved([x, *rest], lambda part: part.to(device))
        assert_close(packed_linear(*here).cpu(), x, weight_of(x.shape[1], rest), rest[6], case)


def contradictions(
    group_size: int = 64, some: int = 69, many: int = 2100
) -> Iterator[tuple[str, int, list, list[int]]]:
    """What it is, columns, arguments after x, and the rows that contradict themselves."""
    for bits, cols in ((0, some), (8, some), (3, many), (0, many), (4, many)):
        form = Form("mask", bits, torch.bfloat16, group_size)
        rest = packed(form, 5, cols, False, torch.float32)
        entries, bitmask, starts = rest[:3]
        for row, start in ((0, -1), (2, 1 << 62), (3, -(1 << 63)), (4, int(starts[4]) + 16), (4, len(entries) * 8 + 1)):
            wrong = starts.clone()
            wrong[row] = start
            yield f"start {start}", cols, [entries, bitmask, wrong, *rest[3:]], [row]
        yield "no entries", cols, [entries[:0], *rest[1:]], [0, 1, 2, 3, 4]
        yield "too few entries", cols, [entries[: -max(1, bits) - 4], *rest[1:]], [4]
        full = bitmask.clone()
        full[4, : cols // 8] = 255
        yield "too many bits", cols, [entries, full, *rest[2:]], [4]
        if cols % 8 == 0:
            continue
        stray = bitmask.clone()
        stray[3, -1] |= 128
        yield "bit after the last column", cols, [torch.cat([entries, entries]), stray, *rest[2:]], [3]
    for bits in (0, 2):
        for keep, group in ((2, 4), (3, 6), (20, 60)):
            cols, size = (1260, 60) if group_size == 64 or group != 4 else (1280, group_size)
            rest = packed(Form("pattern", bits, torch.float16, size, False, keep, group), 4, cols, False, torch.float32)
            for column in (0, 629):
                places = reference.unpack_codes(rest[3], ops.index_bits(group), cols // group * keep)
                first = column // group * keep
                wrong = places[1, first : first + 2].flip(0)  # of one group, the wrong way around, or twice the same
                places[1, first : first + 2] = wrong if column == 0 else wrong[1]
                if group != 4:
                    places[3, first + keep - 1] = group  # outside
                indices = reference.pack_codes(places, ops.index_bits(group))
                yield f"places of {keep}:{group}", cols, [*rest[:3], indices, *rest[4:]], [1, 3][: 2 - (group == 4)]


def check_contradictions(packed_linear: Callable[..., Tensor], device: str = "cpu") -> None:
    """Rows that contradict themselves are NaN, the others as they should be."""
    cases = [(torch.float32, (1, 5, 9), case) for case in contradictions()]
    cases += [(torch.bfloat16, (5,), case) for case in contradictions(32, 128, 2176)]
    for dtype, counts, (name, cols, rest, bad) in cases:
        for count in counts:
            x = torch.randn(count, cols, generator=torch.Generator().manual_seed(count)).to(dtype)
            x[:, ::2] = 0
            actual = packed_linear(*moved([x, *rest], lambda part: part.to(device))).cpu()
            good = [row for row in range(actual.shape[1]) if row not in bad]
            case = (name, cols, count, dtype, rest[7:])
            assert actual[:, bad].isnan().all(), case
            assert actual[:, good].isfinite().all(), case


def parts_to_check(rest: list) -> tuple[Tensor, dict]:
    """What ops.check_packed takes after the columns."""
    names = ("bitmask", "starts", "indices", "keep", "group", "bits")
    return rest[0], dict(zip(names, (*rest[1:4], *rest[9:11], rest[7]), strict=True))
