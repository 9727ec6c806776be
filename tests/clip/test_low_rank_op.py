"""low_rank_rows_ and nearest_rows: reference and native against the truth, in place, out of strides."""

import numpy as np
import pytest
import torch
from golden import low_rank as golden
from op_support import layouts, needs_native, on_backends, random, run_on_instruction_set, with_dtypes

from fmcompress import ops, use

CHECK = """
import sys, torch
from fmcompress import _backends, ops, use
assert _backends._C.cpu_capability() == sys.argv[1]
draw = torch.Generator().manual_seed(0)
for dtype, near in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
    rows, read, write = (torch.randn(n, 77, generator=draw, dtype=dtype) for n in (23, 7, 7))
    out = {}
    for backend in ("reference", "native"):
        with use(backend):
            out[backend] = torch.empty_like(rows), torch.empty(0)
            out[backend] = out[backend][0], ops.low_rank_rows_(out[backend][0], rows, read, write)
    for one, other in zip(*out.values()):
        torch.testing.assert_close(one, other, rtol=near, atol=near)
    for backend in ("reference", "native"):
        with use(backend):
            out[backend] = ops.nearest_rows(rows, read)
    for one, other in zip(*out.values()):
        torch.testing.assert_close(one, other, rtol=near, atol=near)
"""


def near(dtype):
    return {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}


@on_backends
@with_dtypes
@pytest.mark.parametrize(("rows", "cols"), [(13, 64), (1, 1), (7, 100), (3000, 33), (0, 8), (6, 512)])
@pytest.mark.parametrize("directions", [0, 1, 4, 21])
def test_as_the_truth(backend, dtype, rows, cols, directions):
    x, read, write = (random(n, cols, dtype=dtype, seed=s) for s, n in enumerate((rows, directions, directions)))
    expected, lengths = golden.low_rank_rows(x.double().numpy(), read.double().numpy(), write.double().numpy())
    for out in (torch.full_like(x, 7), x.clone()):
        given = x if (out == 7).all() else out  # in place
        with use(backend):
            found = ops.low_rank_rows_(out, given, read, write)
        torch.testing.assert_close(out, torch.from_numpy(expected).to(dtype), **near(dtype))
        torch.testing.assert_close(found, torch.from_numpy(lengths).to(dtype), **near(dtype))


@on_backends
@with_dtypes
def test_what_is_too_short_stays(backend, dtype):
    x = torch.nn.functional.normalize(random(9, 16, dtype=dtype), dim=1)
    x[4] = 0
    x[4, 3] = 1
    read = torch.eye(16, dtype=dtype)[3:4]
    out = torch.empty_like(x)
    with use(backend):
        lengths = ops.low_rank_rows_(out, x, read, -read, least=1e-6)
    assert lengths[:, 4].tolist() == [1, 0]
    assert torch.equal(out[4], x[4])
    assert (abs(out[:, 3])[torch.arange(9) != 4] < 1e-6).all()


@on_backends
def test_strides_do_not_matter(backend):
    x, read, write = random(9, 20), random(3, 20, seed=1), random(3, 20, seed=2)
    with use(backend):
        expected = torch.empty_like(x)
        ops.low_rank_rows_(expected, x, read, write)
        for view in layouts(x).values():
            out = torch.empty_like(x)
            ops.low_rank_rows_(out, view, read, write)
            torch.testing.assert_close(out, expected)


def test_nan_stays_in_its_row():
    x = random(9, 20)
    x[2, 5] = float("nan")
    out = torch.empty_like(x)
    lengths = ops.low_rank_rows_(out, x, x[:2], x[:2])
    assert lengths.isnan().any(0).tolist() == [i == 2 for i in range(9)]
    assert np.isfinite(np.delete(out.numpy(), 2, axis=0)).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"out": torch.ones(3, 7)}, "out: expected"),
        ({"out": torch.ones(8, 3).T}, "out: expected contiguous"),
        ({"rows": torch.ones(3)}, "rows: expected 2 dimensions"),
        ({"read": torch.ones(2, 7)}, "write: expected|read: expected"),
        ({"write": torch.ones(3, 8)}, "write: expected"),
        ({"write": torch.ones(2, 8).double()}, "write: expected"),
        ({"least": -1.0}, "least: expected"),
    ],
)
def test_bad_calls(change, told):
    good = {"out": torch.ones(3, 8), "rows": torch.ones(3, 8), "read": torch.ones(2, 8), "write": torch.ones(2, 8)}
    with pytest.raises(ValueError, match=told):
        ops.low_rank_rows_(**{**good, **change})


@on_backends
@with_dtypes
@pytest.mark.parametrize(("rows", "cols"), [(13, 64), (1, 1), (7, 100), (3000, 33), (0, 8), (6, 512)])
@pytest.mark.parametrize("targets", [1, 4, 10, 21])
def test_nearest_as_the_truth(backend, dtype, rows, cols, targets):
    x, others = random(rows, cols, dtype=dtype), random(targets, cols, dtype=dtype, seed=1)
    index, product, length = map(torch.from_numpy, golden.nearest_rows(x.double().numpy(), others.double().numpy()))
    with use(backend):
        found = ops.nearest_rows(x, others)
    assert torch.equal(found[0], index)  # of random numbers no two products are nearly equal
    torch.testing.assert_close(found[1], product.to(dtype), **near(dtype))
    torch.testing.assert_close(found[2], length.to(dtype), **near(dtype))


@on_backends
def test_of_equal_ones_the_first_is_nearest(backend):
    x = torch.ones(9, 20)
    others = torch.cat([torch.zeros(2, 20), torch.ones(7, 20)])
    with use(backend):
        assert ops.nearest_rows(x, others)[0].tolist() == [2] * 9
        assert ops.nearest_rows(-x, others)[0].tolist() == [0] * 9  # filling to whole tiles is no target
        assert ops.nearest_rows(-x, others[2:])[1].tolist() == [-20.0] * 9


@on_backends
def test_nearest_of_strided_rows_and_of_nan(backend):
    x, others = random(9, 20), random(3, 20, seed=1)
    others[2] = x[4]  # before it has NaN, row 4 is nearest to another than 0
    with use(backend):
        expected = ops.nearest_rows(x, others)
        for view in layouts(x).values():
            for one, other in zip(ops.nearest_rows(view, others), expected, strict=True):
                torch.testing.assert_close(one, other)
        x[4, 2] = float("nan")
        index, _, length = ops.nearest_rows(x, others)
    assert length.isnan().tolist() == [i == 4 for i in range(9)]
    assert index[4] == 0
    assert torch.equal(index[torch.arange(9) != 4], expected[0][torch.arange(9) != 4])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": torch.ones(3)}, "rows: expected 2 dimensions"),
        ({"targets": torch.ones(2, 7)}, "targets: expected"),
        ({"targets": torch.ones(2, 8).double()}, "targets: expected"),
        ({"targets": torch.ones(0, 8)}, "targets: expected at least one"),
    ],
)
def test_bad_calls_of_nearest(change, told):
    with pytest.raises(ValueError, match=told):
        ops.nearest_rows(**{"rows": torch.ones(3, 8), "targets": torch.ones(2, 8), **change})


@needs_native
@pytest.mark.parametrize(("asked", "runs"), [("default", "baseline"), ("avx2", "AVX2")])
def test_on_fewer_instructions(asked, runs):
    run_on_instruction_set(asked, runs, CHECK)
