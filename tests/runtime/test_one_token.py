"""The fused step of a Llama-like decoder: its definition in torch, and its Triton kernels interpreted and compiled."""

import os
import re
import subprocess
from pathlib import Path

import one_token_cases
import pytest
import torch
import triton_cases
from graph_decoding_cases import prompt, tiny
from one_token_cases import attention_arguments
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from fmcompress.runtime.graph_decoding import StaticDecoder
from fmcompress.runtime.one_token import TorchKernels, kernels_for, why_not_one_token

SM = (80, 90)
POINTERS = ("added", "residual", "weight", "sum", "out", "gate", "up", "q", "k", "v", "cos", "sin", "keys", "values")
compiles = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel is no JITFunction"
)


def kernels() -> dict:
    """Every kernel with the arguments that a launch gives it, as triton_cases has them; FLOAT is the tensors' dtype."""
    from fmcompress_triton import one_token

    base = {f"{name}_ptr": "*FLOAT" for name in POINTERS} | {"eps": "fp32"}
    base |= dict.fromkeys(("cols", "count"), "i32") | {"COLS": 4096, "BLOCK": one_token.BLOCK}
    wide = {"options": {"num_warps": 16}}
    return {
        "add and norm": (one_token.add_norm_kernel, {**base, **wide}),
        "norm": (one_token.add_norm_kernel, {**base, **wide, "added_ptr": None}),
        "norm 1": (one_token.add_norm_kernel, {**base, "added_ptr": None, "cols": 1, "COLS": 1}),
        "gated": (one_token.gated_kernel, {**base, "options": {"num_warps": 4}}),
        "gated 1": (one_token.gated_kernel, {**base, "count": 1}),
        "attend": (one_token.attend_kernel, {**base, **attending(4, 128)}),
        "attend, a key to 7 heads": (one_token.attend_kernel, {**base, **attending(7, 96)}),
        "attend, a key to a head": (one_token.attend_kernel, {**base, **attending(1, 64), "sharing": 1}),
    }


def attending(sharing: int, head_dim: int) -> dict:
    from fmcompress_triton import attend

    pointers = dict.fromkeys(("peaks_ptr", "totals_ptr", "sums_ptr"), "*fp32") | {"done_ptr": "*i32"}
    numbers = {"position_ptr": "*i64", "width": "i32", "sharing": "i32", "scaling": "fp32"}
    powers = {"HEADS": 1 << (sharing - 1).bit_length(), "DIM": 1 << (head_dim - 1).bit_length()}
    positions = attend.positions_at_a_time(sharing, head_dim)
    rest = {"HEAD_DIM": head_dim, "PARTS": 32, "POSITIONS": positions, "STAGES": attend.STAGES}
    return {**pointers, **numbers, **powers, **rest, "options": {"num_warps": attend.WARPS}}


def compiled(name: str, dtype: str, sm: int):
    kernel, arguments = kernels()[name]
    given = {
        key: value.replace("FLOAT", dtype) if isinstance(value, str) else value for key, value in arguments.items()
    }
    aligned = (*(key for key, value in given.items() if str(value).startswith("*")), "width", "cols", "count")
    return triton_cases.compile_kernel(kernel, given, "fp32", sm, aligned)


def stack_bytes(compiled, folder: Path) -> int:
    """That a thread of a compiled kernel has, most of all for what its registers do not hold."""
    import triton

    cubin, dump = folder / "kernel.cubin", Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    cubin.write_bytes(compiled.asm["cubin"])
    said = subprocess.run([dump, "--dump-resource-usage", cubin], check=True, capture_output=True, text=True).stdout
    return int(re.findall(r"STACK:(\d+)", said)[0])


@compiles
@pytest.mark.parametrize("sm", SM)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_triton_compiles_without_spills(dtype, sm, tmp_path):
    pytest.importorskip("triton", reason="triton is not installed")
    for name in kernels():
        assert stack_bytes(compiled(name, dtype, sm), tmp_path) == 0, name


@compiles
def test_what_is_stored_is_seen_by_whoever_reads_it():
    """A token's key and value before a tile is loaded. And a part's sums: all threads have stored before one of them
    counts, and none reads before that one knows the count."""
    pytest.importorskip("triton", reason="triton is not installed")
    ptx = compiled("attend", "bf16", 90).asm["ptx"]
    orders = re.findall(r"\b(st\.global|ld\.global|bar\.sync|cp\.async\.cg|atom\S+)", ptx)
    before = orders[: orders.index("cp.async.cg")][::-1]
    assert before.index("bar.sync") < before.index("st.global")
    counts = [place for place, order in enumerate(orders) if order.startswith("atom")]
    assert [orders[place] for place in counts] == ["atom.global.gpu.acq_rel.add.u32"]
    before, after = orders[: counts[0]][::-1], orders[counts[0] + 1 :]
    assert before.index("bar.sync") < before.index("st.global")
    assert after.index("bar.sync") < after.index("ld.global")


def test_a_cache_is_cut_into_parts_for_all_of_a_gpu():
    attend = pytest.importorskip("fmcompress_triton.attend", reason="triton is not installed")
    for key_heads in range(1, attend.PROGRAMS + 1):
        assert attend.PROGRAMS / 2 < key_heads * attend.parts_of(1 << 20, key_heads, 16) <= attend.PROGRAMS
    assert attend.parts_of(1 << 20, attend.PROGRAMS + 1, 16) == 1
    assert [attend.parts_of(width, 8, 16) for width in (64, 320, 512, 513)] == [4, 32, 32, 32]
    assert [attend.parts_of(width, 8, 128) for width in (64, 320)] == [1, 4]


def test_tiles_are_smaller_where_more_is_summed():
    attend = pytest.importorskip("fmcompress_triton.attend", reason="triton is not installed")
    found = {(sharing, dim): attend.positions_at_a_time(sharing, dim) for sharing in (1, 4, 7, 64) for dim in (64, 96)}
    assert list(found.values()) == [32, 16, 32, 16, 16, 8, 2, 1]
    assert attend.positions_at_a_time(128, 256) == 1


@compiles
def test_every_kernel_is_compiled():
    one_token = pytest.importorskip("fmcompress_triton.one_token", reason="triton is not installed")
    listed = {kernel.__name__ for kernel, _ in kernels().values()}
    assert listed == {name for name in vars(one_token) if name.endswith("_kernel")}


def test_triton_in_the_interpreter():
    """The kernels one by one; attention again with more tiles than parts, and last programs first, of which one joins
    the parts of a key head; then all of a pass, as a GPU runs it, with more parts than one."""
    triton_cases.interpret(
        "from fmcompress.runtime import one_token\n"
        "from fmcompress_triton import attend\n"
        "from fmcompress_triton.one_token import TritonKernels\n"
        "from graph_decoding_cases import tiny, tokens_of\n"
        "from one_token_cases import LONG, check_attention, check_kernels\n"
        "check_kernels(TritonKernels())\n"
        "fenced_interpreter.backwards()\n"
        "attend.PROGRAMS, own, joins = 4, attend.of_parts, []\n"
        "attend.of_parts = lambda *given: joins.append(int(given[3].handle.data[0])) or own(*given)\n"
        "check_attention(TritonKernels(), 'cpu', (torch.float32,), LONG)\n"
        "assert joins == [2, 2, 3], joins\n"
        "attend.PROGRAMS, attend.NUMBERS = 8, 64\n"
        "model = tiny('qwen2')\n"
        "expected = tokens_of(model, fused=False, new_tokens=6)\n"
        "one_token.kernels_for = lambda device: TritonKernels()\n"
        "assert tokens_of(model, fused=True, new_tokens=6) == expected\n"
    )


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
def test_a_fused_step_gives_the_same_logits(kind):
    """Of a model in which no two norms are alike, no bias is zero, and the scaling is its own."""
    model = tiny(kind)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.normal_(1.0, 0.3, generator=generator)
    for number, module in enumerate(model.modules()):
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = 0.3 * number
        if hasattr(module, "scaling"):
            module.scaling *= 1.5
    decoder = StaticDecoder(model, 20, fused=True)
    decoder.prefill(prompt())
    fused = decoder._logits(decoder.token, decoder.position)
    held = [layer.keys.clone() for layer in decoder.cache.layers]
    torch.testing.assert_close(fused, decoder._own_logits(decoder.token, decoder.position), rtol=1e-4, atol=1e-4)
    for keys, layer in zip(held, decoder.cache.layers, strict=True):
        torch.testing.assert_close(keys, layer.keys, rtol=1e-4, atol=1e-4)


def test_torch_rounds_where_transformers_does():
    generator = torch.Generator().manual_seed(0)
    x, added = torch.randn(2, 1, 512, generator=generator).bfloat16()
    norm = LlamaRMSNorm(512, eps=0.1).bfloat16().requires_grad_(False)
    norm.weight.normal_(generator=generator)
    total, normed = TorchKernels().add_norm(added, x, norm.weight, norm.variance_epsilon)
    assert torch.equal(total, x + added)
    assert torch.equal(normed, norm(total))
    q, k, v, cos, sin, keys, values, position, scaling = attention_arguments((2, 4, 64, 64, 9), torch.bfloat16)
    TorchKernels().attend(q, k, v, cos, sin, keys, values, position, scaling)
    _, turned = apply_rotary_pos_emb(q.view(1, 8, 1, 64), k.view(1, 2, 1, 64), cos, sin)
    assert torch.equal(keys[:, :, 9:10], turned)
    assert torch.equal(values[:, :, 9:10], v.view(1, 2, 1, 64))


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

    kernels = TritonKernels()
    one_token_cases.check_kernels(kernels, "cuda")
    for _ in range(20):  # whoever is last to end is another every time
        one_token_cases.check_attention(kernels, "cuda", (torch.bfloat16,), [(8, 4, 128, 1024, 900)])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_torch_on_the_gpu():
    one_token_cases.check_kernels(TorchKernels(), "cuda", (torch.float32,))
