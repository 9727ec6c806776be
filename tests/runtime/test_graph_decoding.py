"""Greedy decoding over a static cache gives transformers' tokens; on a GPU from a graph, which falls back with a note."""

from pathlib import Path

import pytest
import torch
from graph_decoding_cases import LONGEST, WINDOW, generated, prompt, tiny, tokens_of
from helpers import DEMO, invoke, make_checkpoint
from pretend_cuda import pretend_cuda
from torch._subclasses.fake_tensor import FakeTensorMode

from fmcompress import Grid
from fmcompress.calibration import encode_prompt, load_tokenizer
from fmcompress.errors import ConfigError
from fmcompress.runtime import decode_speed, generation, graph_decoding, load, replace_linears
from fmcompress.runtime.graph_decoding import BLOCK, ROOM, StaticDecoder, why_not_greedy, why_not_static
from fmcompress.runtime.one_token import OneToken

KINDS = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "opt"]
FUSED = ["llama", "mistral", "qwen2"]
without = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_tokens_are_those_of_transformers(kind, attention):
    model = tiny(kind)
    model.set_attn_implementation(attention)
    expected = generated(model, prompt(), 40)
    assert len(set(expected)) > 8
    assert tokens_of(model, new_tokens=40) == expected


@pytest.mark.parametrize("kind", FUSED)
def test_a_fused_step_gives_the_same_tokens(kind):
    model = tiny(kind)
    assert tokens_of(model, new_tokens=40, fused=True) == generated(model, prompt(), 40)


def test_a_gpu_without_triton_is_told(monkeypatch):
    model = tiny("llama")
    expected = generated(model, prompt(), 20)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pretend_cuda():
        decoder = StaticDecoder(model.to("cuda"), 64, graph=False)
        assert list(decoder.stream(prompt().to("cuda"), 20, set())) == expected
    assert len(decoder.notes) == 1
    assert decoder.notes[0].startswith("no Triton, so the fused step is of PyTorch's ops, which is slower.")


@pytest.mark.parametrize("fused", [False, True])
def test_packed_models_decode_as_they_generate(fused):
    model = tiny("llama")
    assert replace_linears(model, grid=Grid(4, 32))
    assert tokens_of(model, new_tokens=40, fused=fused) == generated(model, prompt(), 40)


@pytest.mark.parametrize("fused", [False, True])
def test_the_demo_model_says_the_same(fused):
    model = load(DEMO / "model", dtype="float32")
    ids = encode_prompt(load_tokenizer(DEMO / "model"), "The list of", chat=False)
    decoder = StaticDecoder(model, ids.shape[1] + 30, fused=fused)
    ends = model.generation_config.eos_token_id
    assert isinstance(decoder._logits, OneToken) == fused
    assert list(decoder.stream(ids, 30, {ends})) == generated(model, ids, 30)


def test_a_decoder_takes_one_prompt_after_another():
    model = tiny("llama")
    decoder = StaticDecoder(model, 40)
    for ids, new_tokens in ((prompt(9), 31), (prompt(3), 5), (prompt(20), 20), (prompt(39), 1)):
        assert list(decoder.stream(ids, new_tokens, set())) == generated(model, ids, new_tokens)


def test_a_prompt_takes_one_row_of_logits_and_a_cache_of_even_width():
    model, rows = tiny("llama"), []
    decoder = StaticDecoder(model, 49)
    model.lm_head.register_forward_hook(lambda module, given, logits: rows.append(logits.shape[1]))
    decoder.prefill(prompt())
    assert rows == [1]
    assert decoder.width == ROOM


@pytest.mark.parametrize("at", [0, 3, BLOCK + 1])
def test_an_end_of_the_text_ends_it(at):
    model = tiny("llama")
    expected = generated(model, prompt(), 40)
    end = expected[at]
    known = list(StaticDecoder(model, 49).stream(prompt(), 40, {end}))
    assert known == expected[: expected.index(end) + 1]


def test_nothing_waits_for_the_host():
    """Reading a value of a fake tensor raises: such a step could not be captured."""
    for kind in KINDS:
        model = tiny(kind)
        with FakeTensorMode() as mode:
            for module in model.modules():
                for tensors in (module._parameters, module._buffers):
                    for name, tensor in tensors.items():
                        tensors[name] = None if tensor is None else mode.from_tensor(tensor)
            for fused in (False, True):
                decoder = StaticDecoder(model, 20, fused=fused)
                decoder.prefill(mode.from_tensor(prompt()))
                decoder.run(3)
                with pytest.raises(Exception, match=r"_local_scalar_dense|data-dependent|fake"):
                    decoder.tokens(0)  # this one does wait


def test_a_capture_that_fails_is_said_and_changes_nothing():
    model = tiny("llama")
    decoder = StaticDecoder(model, 49, graph=True, fused=True)  # a CPU captures nothing
    assert len(decoder.notes) == 2
    assert decoder.notes[0].startswith("the fused step failed, so that of the model runs, which is slower: ")
    assert decoder.notes[1].startswith("no CUDA graph, so that decoding is slower: ")
    assert "graph" not in decoder.by
    assert list(decoder.stream(prompt(), 40, set())) == generated(model, prompt(), 40)


def test_what_cannot_be_decoded_is_said():
    assert "no static cache" in why_not_static(tiny("bloom"), 20)
    assert "decoder-only" in why_not_static(tiny("t5"), 20)
    assert why_not_static(tiny("mistral"), WINDOW) is None
    with pytest.raises(ConfigError, match=f"expected at most {WINDOW} tokens, the sliding window, got {WINDOW + 1}"):
        StaticDecoder(tiny("mistral"), WINDOW + 1)
    assert why_not_static(tiny("gpt2"), LONGEST) is None
    with pytest.raises(ConfigError, match=f"expected at most {LONGEST} tokens"):
        StaticDecoder(tiny("gpt2"), LONGEST + 1)
    model = tiny("llama")
    model.config._attn_implementation = "flash_attention_2"
    assert "expected sdpa or eager" in why_not_static(model, 20)


def test_the_last_token_of_a_context():
    model = tiny("gpt2")
    decoder = StaticDecoder(model, LONGEST)
    ids = prompt(LONGEST - 5)
    assert list(decoder.stream(ids, 5, set())) == generated(model, ids, 5)
    for steps in (1, -3):
        with pytest.raises(ConfigError, match="steps: expected 0 to 0"):
            decoder.run(steps)
    with pytest.raises(ConfigError, match=r"one sequence \[1, length\], got \[2, 5\]"):
        decoder.prefill(torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(ConfigError, match="no prompt yet"):
        StaticDecoder(model, 9).run(1)
    with pytest.raises(ConfigError, match="length: expected at least 2 tokens"):
        StaticDecoder(model, 0)
    for length in (0, LONGEST):
        with pytest.raises(ConfigError, match="prompt: expected 1 to 127 tokens"):
            decoder.prefill(torch.zeros(1, length, dtype=torch.int64))


def test_settings_that_change_the_likeliest_token():
    model = tiny("llama")
    assert why_not_greedy(model) is None
    model.generation_config.do_sample, model.generation_config.temperature = True, 0.7
    assert why_not_greedy(model) is None
    model.generation_config.repetition_penalty, model.generation_config.num_return_sequences = 1.0, 1
    assert why_not_greedy(model) is None
    model.generation_config.no_repeat_ngram_size = 1
    assert "no_repeat_ngram_size" in why_not_greedy(model)
    model.generation_config.no_repeat_ngram_size = 0
    model.generation_config.repetition_penalty = 1.2
    assert "repetition_penalty" in why_not_greedy(model)
    decoder, notes = generation.static_decoder(model, 20)
    assert decoder is None
    assert notes[0].startswith("transformers decodes, without a CUDA graph: generation_config sets repetition_penalty")


def test_text_is_the_same_whoever_decodes(tmp_path, capsys, monkeypatch):
    make_checkpoint(tmp_path / "model", blocks=2, hidden=64)
    args = ("generate", tmp_path / "model", "--prompt", "The list", "--max-new-tokens", 20)
    plain = invoke(capsys, *args)

    def decoded(model, tokenizer, input_ids, show, *, max_new_tokens, **_):
        from transformers import TextStreamer

        streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        streamer.on_finalized_text = lambda text, stream_end=False: show(text)
        decoder = StaticDecoder(model, input_ids.shape[1] + max_new_tokens, graph=True)
        return generation._stream_greedily(decoder, input_ids, max_new_tokens, streamer)

    monkeypatch.setattr(generation, "stream_text", decoded)
    ours = invoke(capsys, *args)
    assert ours.stdout == plain.stdout
    assert "no CUDA graph, so that decoding is slower" in ours.stderr
    assert "no CUDA graph" not in plain.stderr


def test_a_static_run_is_measured():
    decoding, prefill = decode_speed.one_static_run(StaticDecoder(tiny("llama"), 14), prompt(), 5)
    assert decoding > 0
    assert prefill > 0


@pytest.mark.cuda
@without
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fused", [False, True])
def test_a_graph_gives_the_same_tokens(kind, fused):
    expected = generated(tiny(kind), prompt(), 40)
    model = tiny(kind).cuda()
    decoder = StaticDecoder(model, 49, fused=fused)
    assert decoder.notes == []
    assert decoder.by.startswith("a CUDA graph of")
    assert isinstance(decoder._logits, OneToken) == (fused and kind in FUSED)
    for _ in range(2):
        assert list(decoder.stream(prompt(), 40, set())) == expected
    assert tokens_of(model, new_tokens=40, graph=False, fused=fused) == expected


@pytest.mark.cuda
@without
@pytest.mark.parametrize("grid", [None, Grid(4, 32)])
def test_the_demo_model_says_the_same_on_a_gpu(grid):
    """Packed models, too: the tokens of the CPU, in float32."""
    model = load(DEMO / "model", dtype="float32")
    if grid is not None:
        assert replace_linears(model, grid=grid)
    ids = encode_prompt(load_tokenizer(DEMO / "model"), "The list of", chat=False)
    expected = generated(model, ids, 30)
    decoder = StaticDecoder(model.cuda(), ids.shape[1] + 30)
    assert decoder.notes == []
    assert list(decoder.stream(ids, 30, {model.generation_config.eos_token_id})) == expected


@pytest.mark.cuda
@without
def test_text_and_speed_come_from_a_graph_on_a_gpu(tmp_path: Path, capsys):
    make_checkpoint(tmp_path / "model", blocks=2, hidden=64)
    args = ("generate", tmp_path / "model", "--prompt", "The list", "--max-new-tokens", 20, "--dtype", "float32")
    there, here = (invoke(capsys, *args, "--device", device, "--json") for device in ("cuda", "cpu"))
    assert '"decoded_by": "a CUDA graph of a fused step over a static cache"' in there.stdout
    assert there.stdout.split('"new_tokens"')[0] == here.stdout.split('"new_tokens"')[0]
    model = load(tmp_path / "model", device="cuda")
    speed = decode_speed.measure_decoding({"a": model}, prompt(), 3, 1)[0]
    assert speed.by == "a CUDA graph of a fused step over a static cache"
    assert graph_decoding.why_not_static(model, 20) is None


def test_a_fused_step_that_cannot_be_made_is_said(monkeypatch):
    """As where Triton is installed and does not load: the command goes on."""

    def broken(*_):
        raise ImportError("libcuda.so: no such file")

    monkeypatch.setattr(graph_decoding, "OneToken", broken)
    decoder = StaticDecoder(tiny("llama"), 49, fused=True)
    assert decoder.notes == ["no fused step, so that of the model runs, which is slower: libcuda.so: no such file"]
    assert list(decoder.stream(prompt(), 40, set())) == generated(tiny("llama"), prompt(), 40)
