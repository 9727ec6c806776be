"""factor_block: reference against the float64 truth, every back-end on the cases, what must hold, the contract."""

import factor_cases as cases
import numpy as np
import pytest
import torch
from golden import factor as golden
from op_support import layouts, needs_native, on_backends, on_devices, with_dtypes

from fmcompress import available, ops, reference, use


@pytest.mark.parametrize("n", cases.SIZES)
def test_reference_is_true(n):
    matrix = cases.positive(n, torch.float64, condition=1e2)
    expected = golden.factor_block(matrix.numpy())
    upper, inverse, failed = reference.factor_block(matrix)
    np.testing.assert_allclose(upper.numpy(), expected[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(inverse.numpy(), expected[1], rtol=1e-10, atol=1e-11)
    assert failed == 0


def test_the_truth_fails_where_the_reference_does():
    matrices = cases.bad_matrices(torch.float64, 9)
    assert [golden.factor_block(matrix.numpy()) is None for matrix in matrices] == [False, True] * 4
    assert reference.factor_block(matrices)[2].tolist() == [0, 1] * 4


@on_backends
def test_the_cases_of_every_kernel(backend):
    with use(backend):
        cases.check_factor_block(ops.factor_block)


@needs_native
@on_devices
@with_dtypes
def test_many_matrices_are_one_by_one_the_same(dtype, device):
    """Whatever thread or thread block they fall to."""
    matrices = cases.positive(65, dtype, batch=(37,)).to(device)
    together = ops.factor_block(matrices)
    for index, matrix in enumerate(matrices):
        assert all(map(torch.equal, ops.factor_block(matrix), [part[index] for part in together]))


@needs_native
@with_dtypes
def test_any_layout(dtype):
    matrix = cases.positive(33, dtype)
    expected = ops.factor_block(matrix)
    for name, view in layouts(matrix).items():
        assert all(map(torch.equal, ops.factor_block(view), expected)), name


@on_backends
@with_dtypes
def test_singular_matrices_fail_and_nearly_singular_ones_do_not(backend, dtype):
    eps, n = torch.finfo(dtype).eps, 40
    vector = torch.linspace(1, 2, n, dtype=dtype)
    with use(backend):
        *_, failed = ops.factor_block(torch.stack([torch.outer(vector, vector) - 0.1 * torch.eye(n, dtype=dtype)]))
        assert failed.tolist() == [1]
        matrix = torch.outer(vector, vector) + 64 * n * eps * torch.eye(n, dtype=dtype)
        cases.check_factored(matrix, ops.factor_block(matrix), backend)


def test_the_fake_has_shape_and_dtype():
    for shape in ((9, 9), (3, 9, 9), (0, 9, 9)):
        upper, inverse, failed = torch.ops.fmcompress.factor_block(torch.empty(shape, device="meta"))
        assert upper.shape == inverse.shape == shape
        assert (failed.shape, failed.dtype, failed.device.type) == (shape[:-2], torch.int32, "meta")


WRONG = {
    "1-D": (torch.ones(9), "symmetric: expected .n, n. or"),
    "4-D": (torch.ones(1, 1, 3, 3), "symmetric: expected .n, n. or"),
    "not square": (torch.ones(3, 4), "symmetric: expected .n, n. or"),
    "half": (torch.eye(3).half(), "symmetric: expected float32 or float64"),
    "integers": (torch.eye(3).int(), "symmetric: expected float32 or float64"),
    "too wide": (torch.eye(129), "symmetric: expected 1 to 128 columns, got 129"),
    "empty": (torch.ones(2, 0, 0), "symmetric: expected 1 to 128 columns, got 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    wrong, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        ops.factor_block(wrong)
    if "native" in available("factor_block"):
        with pytest.raises(ValueError, match=message):
            torch.ops.fmcompress.factor_block(wrong)


@needs_native
def test_the_kernel_itself_takes_contiguous_matrices_only():
    with pytest.raises(ValueError, match="symmetric: expected contiguous rows"):
        torch.ops.fmcompress.factor_block(torch.eye(9)[::2, ::2])
