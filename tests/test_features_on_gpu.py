"""What is more than an op, on each device: layer solves, the choice of a back-end, and the thread of the exchanges."""

from collections.abc import Callable

import pytest
import torch
from op_support import CALLS, any_codes, on_devices, random
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

import fmcompress
from fmcompress import NM, Grid, Unstructured, _ops, ops
from fmcompress._backends import _C
from fmcompress.errors import BackendUnavailable
from fmcompress.gradients.background import Background
from fmcompress.pruning.sparsegpt import sparsegpt
from fmcompress.quantization.gptq import gptq

ON_GPU = [name for name in CALLS if name not in _ops.HOST_ONLY]
SOLVES = {
    "50 %": lambda weight, hessian: sparsegpt(weight, hessian, Unstructured(0.5)),
    "2:4": lambda weight, hessian: sparsegpt(weight, hessian, NM(2, 4)),
    "50 % + 4 bits": lambda weight, hessian: sparsegpt(weight, hessian, Unstructured(0.5), grid=Grid(4, 32)),
    "4 bits, by activation": lambda weight, hessian: gptq(weight, hessian, Grid(4, 32), activation_order=True),
}


@on_devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("solve", SOLVES)
def test_layer_solves_are_those_of_the_cpu_and_the_same_every_time(make_weight, make_hessian, solve, dtype, device):
    weight, hessian = make_weight(67, 320, dtype), make_hessian(320, dtype, dead=(5, 200))
    expected = SOLVES[solve](weight, hessian)
    first, second = (SOLVES[solve](weight.to(device), hessian.to(device)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert first.weight.device.type == device
    actual = first.weight.cpu()
    assert (actual == 0).sum() == (expected.weight == 0).sum()
    error, expected_error = (
        torch.einsum("ij,jk,ik->", delta, hessian, delta) for delta in (actual - weight, expected.weight - weight)
    )
    assert error <= expected_error * (1 + (1e-2 if dtype == torch.float32 else 1e-6))
    close = torch.isclose(actual, expected.weight, rtol=1e-3, atol=1e-5).all(1)
    assert close.double().mean() > (0.8 if dtype == torch.float32 else 0.99)  # a near tie moves the rest of its row


@on_devices
def test_every_backend_can_be_forced_where_it_is(device):
    scores = random(9, 130, dtype=torch.float32).to(device)
    with fmcompress.use("reference"):
        expected = ops.select_smallest(scores, 60)
    for backend in ("native", "triton"):
        there = device == "cuda" if backend == "triton" else _C is not None and (device == "cpu" or _C.cuda)
        if there:
            with fmcompress.use(backend):
                assert torch.equal(ops.select_smallest(scores, 60), expected)
    with pytest.raises(BackendUnavailable, match="expected one of reference, native, triton"), fmcompress.use("cuda"):
        pass


@on_devices
def test_native_on_a_gpu_without_cuda_kernels_is_refused(device, monkeypatch):
    monkeypatch.setattr(fmcompress._backends, "_C", None)
    scores = torch.ones(3, 8, device=device)
    if device == "cpu":  # what the dispatcher holds runs all the same
        with fmcompress.use("native"):
            assert ops.nm_mask(scores, 2, 4).sum() == 12
    else:
        with fmcompress.use("native"), pytest.raises(BackendUnavailable, match="'native' on cuda: not available"):
            ops.nm_mask(scores, 2, 4)


@on_devices
def test_tensors_on_two_devices_are_refused(device):
    """Else a kernel would follow an address of another memory."""
    if device == "cpu":  # beside "meta", where no kernel runs
        with pytest.raises(ValueError, match=r"expected a tensor on cpu, got one on meta\. Move it there"):
            ops.weighted_sum_(torch.zeros(8), torch.ones(2, 8, device="meta"), torch.ones(2))
        return
    weight, eye = torch.ones(4, 8, device=device), torch.eye(8, device=device)
    for other in (torch.ones(4, 8, dtype=torch.bool), torch.ones(4, 8, dtype=torch.bool, device=device)):
        factor = eye if other.device.type == "cpu" else eye.cpu()
        with pytest.raises((ValueError, RuntimeError), match="device"):
            ops.sweep_block_(weight, factor, other)
    with pytest.raises((ValueError, RuntimeError), match="device"):
        ops.quantize(weight, torch.ones(4), torch.zeros(4, dtype=torch.uint8), 4)


@on_devices
def test_the_thread_of_exchanges_sees_what_the_caller_has_told_the_device(device):
    """It waits for nothing that comes later, and whoever waits for it sees all it did."""
    background, place = Background(), torch.device(device, 0) if device == "cuda" else torch.device(device)
    size = 4 << 20
    source, target = torch.zeros(size, device=place), torch.zeros(size, device=place)
    streams = []
    for step in range(1, 20):
        for _ in range(5):
            source.add_(step)  # takes a while
        entered = background.after(place)

        def exchange(entered=entered) -> None:
            with entered:
                if device == "cuda":
                    streams.append(torch.cuda.current_stream(place))
                target.add_(source)

        background.submit(exchange).result()
        background.wait()
        assert target[0].item() == target[-1].item() == sum(5 * n * (n + 1) / 2 for n in range(1, step + 1))
    if device == "cuda":
        assert len({stream.cuda_stream for stream in streams}) == 1
        assert streams[0] != torch.cuda.current_stream(place)
    background.close()
    with pytest.raises(RuntimeError):
        background.submit(lambda: None)


@on_devices
def test_every_public_function_runs_there(device):
    for name in ON_GPU:
        results = tree_leaves(on_device(CALLS[name], device))
        assert all(part.device.type == device for part in results if isinstance(part, Tensor)), name


def test_what_waits_for_a_gpu():
    """On tensors of a GPU that does not exist whatever needs their values fails: the host would wait for them there."""
    waiting, refused = set(), set()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for name in ON_GPU:
            try:
                results = tree_leaves(on_device(CALLS[name], "cuda", fake=True))
            except DataDependentOutputException:
                waiting.add(name)
            except RuntimeError as error:
                assert torch.version.cuda is None, error
                assert "not linked with support for cuda" in str(error)  # brackets need a torch that has CUDA
                refused.add(name)
            else:
                assert all(part.device.type == "cuda" for part in results if isinstance(part, Tensor)), name
    assert waiting == {"pack_bitmask"} - refused  # counts what it keeps, unless told
    assert len(refused) < len(ON_GPU) / 3, refused


def on_device(call: Callable[[], object], device: str, *, fake: bool = False) -> object:
    """A sample call, with all of its tensors there."""
    given = call.__globals__
    before = {name: given[name] for name in ("EYE", "GRID", "PAYLOAD", "any_codes")}

    def codes(*shape: int) -> Tensor:
        with torch.device("cpu"):
            made = any_codes(*shape)
        return moved(made)

    def moved(part: Tensor) -> Tensor:
        if fake:
            return torch.zeros(part.shape, dtype=part.dtype, device=device)  # as good as any
        return part.to(device)

    given.update({name: tree_map(moved, before[name]) for name in ("EYE", "GRID", "PAYLOAD")})
    given["any_codes"] = codes
    try:
        with torch.device(device):
            return call()
    finally:
        given.update(before)
