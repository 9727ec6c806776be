"""Every check that the emulated kernels pass, on a GPU: the native CUDA kernels and the Triton twins."""

from functools import partial

import admm_step_cases
import batched_sweep_cases
import cocktail_cases
import factor_cases
import kernel_cases
import packed_cases
import pytest
import torch
import triton_cases
import weighted_sum_cases
from packing_cases import same_bytes, shifted
from torch import Tensor

import fmcompress
from fmcompress import _ops, reference

without = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
both = pytest.mark.parametrize("backend", ["native", "triton"])
CHECKS = {
    "select_smallest": kernel_cases.check_select,
    "nm_mask": kernel_cases.check_groups,
    "sweep_block_": kernel_cases.check_sweep,
    "admm_step_": admm_step_cases.check_admm_step,
    "factor_block": factor_cases.check_factor_block,
    "weighted_sum_": weighted_sum_cases.check_weighted_sum,
    "joint_sweep_block_": kernel_cases.check_joint_sweep,
    "sweep_block_ batch": batched_sweep_cases.check_batched_sweep,
    "joint_sweep_block_ batch": batched_sweep_cases.check_batched_joint_sweep,
    "search_grid": kernel_cases.check_search_grid,
    "quantize": kernel_cases.check_quantize,
    "dequantize": kernel_cases.check_dequantize,
    "pack_codes": kernel_cases.check_pack_codes,
    "unpack_codes": kernel_cases.check_unpack_codes,
    "pack_bitmask": kernel_cases.check_pack_bitmask,
    "unpack_bitmask": kernel_cases.check_unpack_bitmask,
    "packed_linear": packed_cases.check_packed_linear,
    "packed_linear contradictions": packed_cases.check_contradictions,
    "payload_checksum": cocktail_cases.check_checksum,
    "compress_gradient_ overflow": cocktail_cases.check_overflow,
    **{op: partial(cocktail_cases.check_op, op) for op in cocktail_cases.ARGUMENTS},
}


def implementation(op: str, backend: str):
    if backend == "triton":
        triton_cases.modules()
        import fmcompress_triton.register

        return getattr(fmcompress_triton.register, op)
    if fmcompress.explain()["cuda"] != "built in":
        pytest.skip(f"cuda: {fmcompress.explain()['cuda']}")
    return getattr(torch.ops.fmcompress, op)


def on_gpu(op):
    """The op, called with CPU tensors: they are moved there, off wide boundaries where they were, and what changed back."""

    def moved(part):
        if not isinstance(part, Tensor):
            return part
        there = part.cuda()
        return shifted(there) if part.numel() and part.data_ptr() % 16 else there

    def call(*arguments):
        there = [moved(part) for part in arguments]
        result = op(*there)
        for before, after in zip(arguments, there, strict=True):
            if isinstance(before, Tensor):
                before.copy_(after)
        if isinstance(result, tuple):
            return tuple(part.cpu() for part in result)
        return None if result is None else result.cpu()

    return call


@pytest.mark.cuda
@without
@both
@pytest.mark.parametrize("check", CHECKS)
def test_as_on_the_cpu(check, backend):
    CHECKS[check](on_gpu(implementation(check.split()[0], backend)))


def test_every_op_is_checked():
    assert {name.split()[0] for name in CHECKS} == set(_ops.CHECKS) - _ops.HOST_ONLY


@pytest.mark.cuda
@without
@both
def test_packed_linear_is_the_same_on_another_stream(backend):
    """Launches go to the current stream, and nothing waits for the GPU."""
    op = implementation("packed_linear", backend)
    form = packed_cases.Form("mask", 4, torch.bfloat16, 128)
    rest = packed_cases.moved(packed_cases.packed(form, 512, 4096, True, torch.bfloat16), Tensor.cuda)
    x = torch.randn(3, 4096, device="cuda").bfloat16()
    expected = op(x, *rest)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        actual = op(x, *rest)
    stream.synchronize()
    assert torch.equal(actual, expected)


@pytest.mark.cuda
@without
@pytest.mark.parametrize("tokens", [1, 8, 32])
def test_packed_linear_in_a_graph(tokens):
    """A host sync would end the capture."""
    op = implementation("packed_linear", "native")
    form = packed_cases.Form("pattern", 0, torch.bfloat16, 0, False, 2, 4)
    rest = packed_cases.moved(packed_cases.packed(form, 256, 2048, False, torch.bfloat16), Tensor.cuda)
    x = torch.randn(tokens, 2048, device="cuda").bfloat16()
    expected = op(x, *rest)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        actual = op(x, *rest)
    graph.replay()
    assert torch.equal(actual, expected)


@pytest.mark.cuda
@without
@both
def test_damaged_payloads_lead_nowhere(backend):
    mean, add = (on_gpu(implementation(op, backend)) for op in ("compress_mean_", "add_payload_"))
    cocktail_cases.check_damaged(mean, add)
    torch.cuda.synchronize()


COMPRESSIONS = ["compress_gradient_", "compress_delta_", "compress_mean_"]


def compression(name: str, kind: str) -> tuple[tuple, tuple, tuple]:
    """Arguments on the CPU and on the GPU, and the layout."""
    case = cocktail_cases.Case("", 100_000, cocktail_cases.BASE._replace(block=1024, sampled=10, kept=77), kind)
    here = cocktail_cases.ARGUMENTS[name](case)
    return here, cocktail_cases.copied(here, Tensor.cuda), case.layout


@pytest.mark.cuda
@without
@both
@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["normal", "nan"])
def test_compression_in_a_graph(name, kind, backend):
    """A host sync would end the capture; a graph that runs twice compresses twice."""
    here, there, layout = compression(name, kind)
    op = implementation(name, backend)
    op(*cocktail_cases.copied(there), *layout)  # loads the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        actual = op(*there, *layout)
    for _ in range(2):
        expected = getattr(reference, name)(*here, *layout)
        graph.replay()
        assert torch.equal(actual.cpu(), expected)
        for ours, theirs in zip(there, here, strict=True):
            assert not isinstance(ours, Tensor) or same_bytes(ours.cpu(), theirs)


@pytest.mark.cuda
@without
@both
def test_a_sweep_of_more_matrices_than_an_axis_of_a_grid_has_blocks(backend):
    weight, factor, prune = batched_sweep_cases.matrices(70_000, 1, 4, torch.float32)
    there = weight.cuda()
    loss = implementation("sweep_block_", backend)(there, factor.cuda(), prune.cuda(), 0, 0)
    expected = reference.sweep_block_(weight, factor, prune, 0, 0)
    torch.testing.assert_close(there.cpu(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
@without
@both
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compression_on_many_streams(name, backend):
    """All that launches share lies in the payload that they make."""
    here, there, layout = compression(name, "normal")
    op = implementation(name, backend)
    given = [cocktail_cases.copied(there) for _ in range(16)]
    streams = [torch.cuda.Stream() for _ in range(8)]
    torch.cuda.synchronize()
    payloads = []
    for i, arguments in enumerate(given):
        with torch.cuda.stream(streams[i % len(streams)]):
            payloads.append(op(*arguments, *layout))
    torch.cuda.synchronize()
    expected = getattr(reference, name)(*here, *layout)
    for payload, arguments in zip(payloads, given, strict=True):
        assert torch.equal(payload.cpu(), expected)
        for ours, theirs in zip(arguments, here, strict=True):
            assert not isinstance(ours, Tensor) or same_bytes(ours.cpu(), theirs)


@pytest.mark.cuda
@without
@both
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_three_launches_a_compression(name, backend):
    """Zeros, whether all is finite, the blocks and the header."""
    _, there, layout = compression(name, "normal")
    op = implementation(name, backend)
    op(*there, *layout)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        op(*there, *layout)
        torch.cuda.synchronize()
    launched = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert 2 <= len(launched) <= 3, launched
