"""The fused step of a Llama-like decoder: its definition in torch, and its Triton kernels interpreted and compiled."""

import os

import one_token_cases
import pytest
import torch
import triton_cases
from transformers import LlamaConfig, LlamaForCausalLM

from fmcompress.runtime.one_token import TorchKernels, kernels_for, why_not_one_token

SM = (80, 90)
POINTERS = ("added", "residual", "weight", "sum", "out", "gate", "up", "q", "k", "v", "cos", "sin", "keys", "values")


def kernels() -> dict:
    """Every kernel with the arguments that a launch gives it, as triton_cases has them; FLOAT is the tensors' dtype."""
    from fmcompress_triton import one_token

    base = {f"{name}_ptr": "*FLOAT" for name in POINTERS} | {"position_ptr": "*i64", "eps": "fp32", "scaling": "fp32"}
    base |= dict.fromkeys(("cols", "count", "width", "sharing", "half"), "i32")
    base |= {"COLS": 4096, "BLOCK": one_token.BLOCK, "HALF": 64, "POSITIONS": one_token.POSITIONS}
    wide = {"options": {"num_warps": 16}}
    return {
        "add and norm": (one_token.add_norm_kernel, {**base, **wide}),
        "norm": (one_token.add_norm_kernel, {**base, **wide, "added_ptr": None}),
        "norm 1": (one_token.add_norm_kernel, {**base, "added_ptr": None, "cols": 1, "COLS": 1}),
        "gated": (one_token.gated_kernel, {**base, "options": {"num_warps": 4}}),
        "gated 1": (one_token.gated_kernel, {**base, "count": 1}),
        "attend": (one_token.attend_kernel, base),
        "attend, a key to a head": (one_token.attend_kernel, {**base, "sharing": 1, "HALF": 32}),
        "attend 1": (one_token.attend_kernel, {**base, "sharing": 1, "half": 1, "HALF": 1}),
    }


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("sm", SM)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_triton_compiles(dtype, sm):
    pytest.importorskip("triton", reason="triton is not installed")
    for name, (kernel, arguments) in kernels().items():
        given = {
            key: value.replace("FLOAT", dtype) if isinstance(value, str) else value for key, value in arguments.items()
        }
        compiled = triton_cases.compile_kernel(kernel, given, "fp32", sm)
        assert compiled.asm["cubin"], name


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel is no JITFunction")
def test_every_kernel_is_compiled():
    one_token = pytest.importorskip("fmcompress_triton.one_token", reason="triton is not installed")
    listed = {kernel.__name__ for kernel, _ in kernels().values()}
    assert listed == {name for name in vars(one_token) if name.endswith("_kernel")}


def test_triton_in_the_interpreter():
    triton_cases.interpret(
        "import one_token_cases\n"
        "from fmcompress_triton.one_token import TritonKernels\n"
        "one_token_cases.check_kernels(TritonKernels())\n"
    )


def test_the_step_in_the_interpreter_gives_the_same_tokens():
    """All of the pass with Triton's kernels, as a GPU runs it."""
    triton_cases.interpret(
        "from graph_decoding_cases import tiny, tokens_of\n"
        "from fmcompress.runtime import one_token\n"
        "from fmcompress_triton.one_token import TritonKernels\n"
        "model = tiny('qwen2')\n"
        "expected = tokens_of(model, fused=False, new_tokens=6)\n"
        "one_token.kernels_for = lambda device: TritonKernels()\n"
        "assert tokens_of(model, fused=True, new_tokens=6) == expected\n"
    )


def test_a_cpu_has_torch_alone():
    assert isinstance(kernels_for(torch.device("cpu")), TorchKernels)


def test_what_it_does_not_know_is_said():
    config = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**config, vocab_size=8, hidden_act="gelu"))
    assert why_not_one_token(model) == "hidden_act: expected silu, got gelu."
    model.config.hidden_act = "silu"
    assert why_not_one_token(model) is None
    assert "expected one of" in why_not_one_token(torch.nn.Linear(1, 1))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_triton_on_the_gpu():
    from fmcompress_triton.one_token import TritonKernels

    one_token_cases.check_kernels(TritonKernels(), "cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_torch_on_the_gpu():
    one_token_cases.check_kernels(TorchKernels(), "cuda", (torch.float32,))
