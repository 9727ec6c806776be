"""PackedLinear beside nn.Linear: every form of weight, every token count, and what modules are expected to do."""

import copy

import pytest
import torch
from compression import random_weight
from torch import nn
from torch.nn.functional import linear

from fmcompress import NM, Grid, LayerResult, Unstructured, magnitude, round_to_nearest, use
from fmcompress.errors import ConfigError
from fmcompress.formats import packed
from fmcompress.layerwise import Pattern
from fmcompress.runtime import PackedLinear, PackedWeight, replace_linears, to_semi_structured

FORMS: dict[str, tuple[Pattern | None, Grid | None]] = {
    "50 %": (Unstructured(0.5), None),
    "90 %": (Unstructured(0.9), None),
    "2:4": (NM(2, 4), None),
    "1:4": (NM(1, 4), None),
    "4 bits": (None, Grid(4, 32)),
    "4 bits asymmetric": (None, Grid(4, 32, symmetric=False)),
    "4 bits a row": (None, Grid(4, None)),
    "8 bits": (None, Grid(8, 32)),
    "3 bits": (None, Grid(3, 32)),
    "2 bits": (None, Grid(2, 32)),
    "50 % + 4 bits": (Unstructured(0.5), Grid(4, 32)),
    "50 % + 4 bits asymmetric": (Unstructured(0.5), Grid(4, 32, symmetric=False)),
    "50 % + 8 bits": (Unstructured(0.5), Grid(8, 32)),
    "2:4 + 4 bits": (NM(2, 4), Grid(4, 32)),
}
with_forms = pytest.mark.parametrize("form", FORMS)
# float32: the code of 0 and its zero-point cancel, which for 8 bits is 128 times the smallest step
DTYPES = {torch.float32: 5e-6, torch.bfloat16: 1.2e-2, torch.float16: 2e-3}
with_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def solved(form: str, rows: int, cols: int, dtype: torch.dtype = torch.float32) -> LayerResult:
    pattern, grid = FORMS[form]
    weight = random_weight(rows, cols, dtype)
    pruned = None if pattern is None else magnitude(weight, pattern)
    if grid is None:
        assert pruned is not None
        return pruned
    return round_to_nearest(weight if pruned is None else pruned.weight, grid)


def tokens(count: int, cols: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, cols, generator=torch.Generator().manual_seed(count)).to(dtype)


def check_close(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, tolerance: float) -> None:
    """Against float64, in units of the sum of the products' magnitudes."""
    expected = linear(x.double(), weight.double())
    units = linear(x.double().abs(), weight.double().abs()).amax().clamp(min=1e-9)
    assert ((out.double() - expected).abs() / units).amax() <= tolerance


@with_forms
@with_dtypes
def test_logits_are_those_of_the_dense_layer_at_every_token_count(form, dtype):
    result = solved(form, 24, 96, dtype)
    layer = PackedLinear(PackedWeight.of(result, FORMS[form][0]))
    for count in range(1, 65):
        x = tokens(count, 96, dtype)
        out = layer(x)
        assert out.dtype == dtype
        assert out.shape == (count, 24)
        check_close(out, x, result.weight, DTYPES[dtype])


@with_forms
@pytest.mark.parametrize("shape", [(1, 4), (7, 12), (5, 100), (33, 260), (3, 1024)], ids=str)
def test_odd_shapes(form, shape):
    result = solved(form, *shape)
    weight = PackedWeight.of(result, FORMS[form][0])
    assert torch.equal(weight.dense(), result.weight)
    for count in (1, 3, 8, 9):
        x = tokens(count, shape[1])
        check_close(PackedLinear(weight)(x), x, result.weight, 5e-6)


@pytest.mark.parametrize("grid", [None, Grid(4, 32), Grid(4, 32, symmetric=False)], ids=str)
def test_empty_rows_give_zeros(grid):
    weight = random_weight(6, 64)
    weight[[0, 2, 3, 5]] = 0.0
    result = magnitude(weight, Unstructured(0.8)) if grid is None else round_to_nearest(weight, grid)
    packed_weight = PackedWeight.of(result)
    assert packed_weight.bitmask is not None
    for count in (1, 5, 8, 20):
        out = PackedLinear(packed_weight)(tokens(count, 64))
        assert not out[:, [0, 2, 3, 5]].any()
        assert out[:, [1, 4]].all()


@with_dtypes
def test_bias_and_leading_dimensions(dtype):
    dense = nn.Linear(64, 24, dtype=dtype)
    model = nn.Sequential(dense).requires_grad_(False)
    x = tokens(6, 64, dtype).view(2, 3, 64)
    expected = model(x)
    assert replace_linears(model, grid=Grid(8, 32)) == ["0"]
    out = model(x)
    assert out.shape == expected.shape
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)
    assert torch.equal(model(x[:, :, :]), model(x.transpose(0, 1).contiguous()).transpose(0, 1))
    model[0].bias = nn.Parameter(model[0].bias.float(), requires_grad=False)  # of another dtype than the tokens
    assert model(x).dtype == dtype


def test_activations_of_another_dtype_than_the_weights():
    result = solved("50 % + 4 bits", 24, 96, torch.bfloat16)
    layer = PackedLinear(PackedWeight.of(result))
    for dtype in DTYPES:
        x = tokens(3, 96, dtype)
        check_close(layer(x), x, result.weight, max(DTYPES[dtype], 4e-3))  # the dense weight is rounded to bfloat16


@with_forms
def test_state_dict_has_the_names_of_the_file_and_loads(form):
    first, second = (PackedLinear(PackedWeight.of(solved(form, 24, 96), FORMS[form][0])) for _ in range(2))
    state = first.state_dict()
    assert set(state) == {f"weight.{part}" for part in first.weight.described.shapes()}
    for part in second.weight.described.shapes():
        second.weight.get_buffer(part).zero_()
    second.weight.starts = None if first.weight.starts is None else torch.zeros_like(first.weight.starts)
    second.load_state_dict(state)
    x = tokens(2, 96)
    assert torch.equal(first(x), second(x))


@with_forms
def test_copies_and_casts(form):
    layer = PackedLinear(PackedWeight.of(solved(form, 24, 96), FORMS[form][0]))
    x = tokens(2, 96)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    half = copy.deepcopy(layer).to(torch.bfloat16)
    assert half.weight.dtype == torch.bfloat16
    assert half.weight.dense().dtype == torch.bfloat16
    check_close(half(x), x, layer.weight.dense(), 4e-3)


def test_reference_back_end_can_be_forced():
    layer = PackedLinear(PackedWeight.of(solved("50 % + 4 bits", 24, 96)))
    x = tokens(2, 96)
    with use("reference"):
        expected = layer(x.double())
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-6)


def test_size_is_that_of_the_parts_in_the_file():
    result = solved("50 % + 4 bits", 24, 96)
    parts, _ = packed.encode(result, None)
    assert PackedWeight.of(result).size_bytes == sum(part.nbytes for part in parts.values())


def test_compiles_whole():
    layers = [PackedLinear(PackedWeight.of(solved(form, 96, 96), FORMS[form][0])) for form in FORMS]
    model = nn.Sequential(*layers)
    x = tokens(3, 96)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), model(x))


def test_gradients_pass_through_to_what_stands_before():
    layer = PackedLinear(PackedWeight.of(solved("50 % + 4 bits", 24, 96)))
    x = tokens(3, 96).requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.dense().sum(0).expand(3, 96), rtol=1e-4, atol=1e-5)


def test_print_tells_the_form():
    text = repr(PackedLinear(PackedWeight.of(solved("50 % + 4 bits", 24, 96, torch.bfloat16))))
    assert "in_features=96, out_features=24" in text
    assert "24, 96, 4 bits, group 32, bitmask, torch.bfloat16" in text


def test_parts_that_are_not_those_described():
    parts, described = packed.encode(solved("50 %", 24, 96), None)
    with pytest.raises(ValueError, match=r"parts: expected \['bitmask', 'values'\], got \['values'\]"):
        PackedWeight(described, {"values": parts["values"]})


def test_contradicting_parts_are_an_error_and_never_read_beyond():
    layer = PackedLinear(PackedWeight.of(solved("50 %", 24, 96)))
    layer.weight.bitmask.fill_(255)
    for count in (1, 20):
        with pytest.raises(ValueError, match="do not fit the bitmask"):
            layer(tokens(count, 96))
    layer = PackedLinear(PackedWeight.of(solved("2:4", 24, 96), NM(2, 4)))
    layer.weight.indices.fill_(0)
    for count in (1, 20):
        with pytest.raises(ValueError, match="ascending places"):
            layer(tokens(count, 96))


def test_wrong_width_of_the_input():
    layer = PackedLinear(PackedWeight.of(solved("50 %", 24, 96)))
    with pytest.raises((ValueError, RuntimeError), match=r"bitmask|shape"):
        layer(tokens(1, 88))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.lm_head = nn.Linear(64, 32, bias=False), nn.Linear(64, 32, bias=False)
        self.b = nn.Sequential(nn.Linear(64, 64))
        self.requires_grad_(False)


def test_replace_linears_chooses_and_leaves_what_would_not_shrink():
    model = Model()
    assert replace_linears(model) == []  # dense weights have no smaller form without a grid
    assert replace_linears(model, grid=Grid(4, 32), include="^a$") == ["a"]
    assert isinstance(model.a, PackedLinear)
    assert isinstance(model.b[0], nn.Linear)
    assert replace_linears(model, grid=Grid(4, 32)) == ["b.0"]  # not the output layer
    assert isinstance(model.lm_head, nn.Linear)
    model = Model()
    model.a.weight[:, ::2] = -0.0
    result = magnitude(model.b[0].weight, NM(2, 4))
    assert replace_linears(model) == ["a"]
    assert replace_linears(model, {"b.0": result}, pattern=NM(2, 4)) == ["b.0"]
    assert model.b[0].weight.indices is not None
    assert torch.equal(model.b[0].weight.dense(), result.weight)


def test_semi_structured_weights_need_a_gpu_and_the_right_form():
    model = nn.Sequential(PackedLinear(PackedWeight.of(solved("2:4", 64, 64, torch.bfloat16), NM(2, 4))))
    with pytest.raises(ConfigError, match="0: semi-structured weights need a GPU"):
        to_semi_structured(model)
    others = [PackedLinear(PackedWeight.of(solved(form, 64, 64), FORMS[form][0])) for form in FORMS]  # float32, too
    assert to_semi_structured(nn.Sequential(*others)) == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("count", [1, 3, 64, 200])
def test_semi_structured_weights_multiply_alike(count, dtype):
    weight = PackedWeight.of(solved("2:4", 256, 512, dtype), NM(2, 4))
    bias = torch.linspace(-1, 1, 256).to(dtype)
    model = nn.Sequential(PackedLinear(weight, bias), nn.Linear(256, 8, dtype=dtype)).cuda()
    x = tokens(count, 512, dtype).cuda()
    dense = nn.functional.linear(x, weight.dense().cuda(), bias.cuda())
    torch.testing.assert_close(model[0](x), dense, rtol=2e-2, atol=2e-2)
    assert to_semi_structured(model) == ["0"]
    torch.testing.assert_close(model[0](x), dense, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(model[0](x[None]), dense[None], rtol=2e-2, atol=2e-2)
    assert to_semi_structured(model) == []  # nothing is left


def test_inputs_of_any_strides():
    layer = PackedLinear(PackedWeight.of(solved("50 % + 4 bits", 24, 96)))
    x = tokens(4, 192)
    for view in (x[:, ::2], x.view(2, 2, 192)[:, -1:, 96:], tokens(96, 4).T):
        assert not view.is_contiguous()
        assert torch.equal(layer(view), layer(view.contiguous()))


def test_bias_may_train_alone():
    layer = PackedLinear(PackedWeight.of(solved("50 %", 24, 96)), torch.zeros(24))
    layer.bias.requires_grad_()
    layer(tokens(3, 96)).sum().backward()
    assert layer.bias.grad.tolist() == [3.0] * 24


def test_replace_linears_of_shared_and_of_special_layers():
    model = Model()
    model.c = model.a
    assert replace_linears(model, grid=Grid(4, 32)) == ["a", "b.0"]
    assert model.c is model.a
    encoder = nn.TransformerEncoderLayer(64, 4, 64).requires_grad_(False).eval()
    assert replace_linears(encoder, grid=Grid(4, 32)) == ["linear1", "linear2"]
    with pytest.raises(ConfigError, match="is a linear layer itself"):
        replace_linears(nn.Linear(64, 64), grid=Grid(4, 32))


def test_replace_linears_refuses():
    model = Model()
    with pytest.raises(ConfigError, match=r"nowhere: the model has no nn.Linear"):
        replace_linears(model, {"nowhere": magnitude(model.a.weight, NM(2, 4))})
    with pytest.raises(ConfigError, match=r"a: expected \[32, 64\], got \[64, 64\]"):
        replace_linears(model, {"a": magnitude(model.b[0].weight, NM(2, 4))})
    with pytest.raises(ConfigError, match="no regular expression"):
        replace_linears(model, include="(")
