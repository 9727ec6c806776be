"""Both sweeps of a batch of matrices: against the float64 truth, every back-end against itself, the contract."""

import batched_sweep_cases as cases
import numpy as np
import pytest
import torch
from golden import quantization, sparsegpt
from op_support import any_codes, needs_native, on_backends, swept_jointly

from fmcompress import ops, reference, use


@pytest.mark.parametrize(("keep", "group"), [(0, 0), (2, 4), (1, 3)])
def test_reference_sweep_of_a_batch_is_true(keep, group):
    weight, factor, prune = cases.matrices(3, 5, 12, torch.float64)
    given = prune.numpy() if group == 0 else [None] * 3
    truth = [
        sparsegpt.sweep_block(*each, keep, group) for each in zip(weight.numpy(), factor.numpy(), given, strict=True)
    ]
    loss = reference.sweep_block_(weight, factor, prune if group == 0 else None, keep, group)
    np.testing.assert_allclose(weight.numpy(), [t[0] for t in truth], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(loss.numpy(), [t[1] for t in truth], rtol=1e-10)


@pytest.mark.parametrize("width", [1, 12])
def test_reference_joint_sweep_of_a_batch_is_true(width):
    weight, factor, prune = cases.matrices(3, 5, 12, torch.float64)
    scale, zero = torch.full((3, 5, width), 0.3, dtype=torch.float64), any_codes(3, 5, width, bits=4)
    scale[1] = 0.2
    given = zip(*(t.numpy() for t in (weight, factor, prune, scale, zero)), strict=True)
    truth = [quantization.joint_sweep_block(*each, 4) for each in given]
    loss, codes = reference.joint_sweep_block_(weight, factor, prune, scale, zero, 4, 0, 0)
    np.testing.assert_allclose(weight.numpy(), [t[0] for t in truth], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(loss.numpy(), [t[1] for t in truth], rtol=1e-10)
    assert np.array_equal(codes.numpy(), [t[2] for t in truth])


@on_backends
def test_a_batch_is_swept_as_its_matrices_are(backend):
    with use(backend):
        cases.check_batched_sweep(torch.ops.fmcompress.sweep_block_)
        cases.check_batched_joint_sweep(torch.ops.fmcompress.joint_sweep_block_)


@needs_native
def test_more_tiles_than_one_thread_takes():
    weight, factor, prune = cases.matrices(20, 70, 16, torch.float32)
    expected = weight.clone()
    losses = [ops.sweep_block_(*each) for each in zip(expected.unbind(), factor, prune, strict=True)]
    assert torch.equal(ops.sweep_block_(weight, factor, prune), torch.stack(losses))
    assert torch.equal(weight, expected)


@needs_native
def test_any_layout_of_the_other_arguments_sweeps_the_same():
    weight, factor, prune = cases.matrices(3, 7, 12, torch.float32)
    scale, zero = torch.rand(3, 7, 12, generator=torch.Generator().manual_seed(1)) + 0.1, any_codes(3, 7, 12, bits=4)
    turned = [t.mT.contiguous().mT for t in (factor, scale, zero, prune)]
    expected = swept_jointly("native", weight, factor, scale, zero, 4, prune)
    actual = swept_jointly("native", weight, *turned[:3], 4, turned[3])
    assert all(map(torch.equal, actual, expected))


SAMPLES = {
    "sweep_block_": lambda w, f, p, s, z: (w, f, p, 0, 0),
    "joint_sweep_block_": lambda w, f, p, s, z: (w, f, p, s, z, 4, 0, 0),
}


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("op", SAMPLES)
def test_opcheck(op, batch):
    weight, factor, prune = cases.matrices(batch, 5, 8, torch.float32)
    sample = SAMPLES[op](weight, factor.nan_to_num(), prune, torch.ones(batch, 5, 1), any_codes(batch, 5, 1, bits=4))
    torch.library.opcheck(getattr(torch.ops.fmcompress, op).default, sample)


W, F, P = torch.ones(2, 3, 8), torch.eye(8).expand(2, 8, 8), torch.ones(2, 3, 8) > 0
S, Z = torch.ones(2, 3, 1), any_codes(2, 3, 1, bits=4)
WRONG = {
    "one factor for all": (lambda: ops.sweep_block_(W, torch.eye(8), P), r"factor: expected \[2, 8, 8\]"),
    "another batch": (lambda: ops.sweep_block_(W, torch.eye(8).expand(3, 8, 8), P), r"factor: expected \[2, 8, 8\]"),
    "one mask for all": (lambda: ops.sweep_block_(W, F, P[0]), r"prune: expected \[2, 3, 8\] bool"),
    "four dimensions": (lambda: ops.sweep_block_(W[None], F[None], P[None]), r"expected \[rows, cols\] or \[batch"),
    "strided": (lambda: ops.sweep_block_(W.mT, F[:, :3, :3], P.mT), "weight: expected contiguous rows"),
    "one grid for all": (lambda: ops.joint_sweep_block_(W, F, S[0], Z[0], 4), r"scale: expected \[2, 3, 1\] or"),
    "pattern": (lambda: ops.sweep_block_(W, F, keep=2, group=3), "divisible by 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()


@needs_native
@pytest.mark.parametrize("wrong", ["factor", "prune", "scale", "zero", "four dimensions"])
def test_native_refuses_what_would_lead_out_of_a_tensor(wrong):
    given = {"weight": W.clone(), "factor": F.contiguous(), "prune": P, "scale": S, "zero": Z}
    if wrong == "four dimensions":
        given = {name: tensor[None] for name, tensor in given.items()}
    else:
        given[wrong] = given[wrong][0]
    with pytest.raises((ValueError, RuntimeError)):
        torch.ops.fmcompress.joint_sweep_block_(*given.values(), 4, 0, 0)
