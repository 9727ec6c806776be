import json
import signal
import time

import pytest
import torch
from helpers import folder_bytes, invoke, start_cli
from training_cases import write_manifest
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTImageProcessorPil, ViTModel

from fmcompress.cli.watch import TrainingProgress
from fmcompress.models import register
from fmcompress.models.omnivl import OmniVLModel
from fmcompress.training import folder as training_folder
from fmcompress.training.folder import read_log
from fmcompress.vision_language.omnivl.inputs import OmniVLInputs

FEW = ("--image-steps", 4, "--joint-steps", 4, "--batch-size", 4, "--save-every", 3, "--bank", 8)
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("omnivl")
    write_manifest(folder)
    return folder


def train(capsys, home, out, *more, few=FEW):
    return invoke(capsys, "omnivl", "train", home / "pairs.jsonl", out, *few, "--device", "cpu", *more)


def test_training_ends_as_a_folder_that_transformers_reads(capsys, home, tmp_path):
    got = train(capsys, home, tmp_path / "out", "--plot", tmp_path / "loss.png", "--json")
    assert got.code == 0, got.stderr
    facts = json.loads(got.stdout)
    assert (facts["steps"], facts["pairs"], facts["classes"]) == (8, 14, ["cat", "dog"])
    assert set(facts["losses"]) == {"images", "videos"}
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out.partial").exists()
    records = read_log(tmp_path / "out" / training_folder.LOG)
    assert [record["step"] for record in records] == list(range(1, 9))
    assert [record["videos"] for record in records] == [False] * 4 + [False, True] * 2
    register()
    model = AutoModel.from_pretrained(tmp_path / "out")
    inputs = OmniVLInputs(tmp_path / "out")
    assert isinstance(model, OmniVLModel)
    ids, mask = inputs.tokens(["a film"])
    assert model(inputs.pixels([home / "0.npy"]), ids, mask).logits.isfinite().all()
    assert "step 3 of 8 · image stage · images · loss" in got.stderr


def test_interrupted_training_goes_on_to_the_same_bytes(capsys, home, tmp_path, monkeypatch):
    assert train(capsys, home, tmp_path / "whole").code == 0
    real, out = training_folder.TrainingFolder.save, tmp_path / "out"

    def killed(self, step, state):
        real(self, step, state)
        if step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_folder.TrainingFolder, "save", killed)
    assert train(capsys, home, out).code == 130
    monkeypatch.undo()
    assert not out.exists()
    assert {path.name for path in (tmp_path / "out.partial").iterdir()} == {
        "run.json",
        "model",
        training_folder.LOG,
        "step-6",
    }
    refused = train(capsys, home, out)
    assert refused.code == 2
    assert "Add --resume to go on, --force to start anew" in refused.stderr
    other = train(capsys, home, out, "--resume", "--seed", 1)
    assert other.code == 2
    assert "--resume: seed was 0 in the earlier run and is 1 now" in other.stderr
    with (tmp_path / "out.partial" / training_folder.LOG).open("a") as log:  # steps behind the checkpoint, cut short
        log.write(json.dumps({"step": 7, "videos": True}) + '\n{"step": 8, "vid')
    assert "resuming: 6 of 8 steps are done" in train(capsys, home, out, "--resume").stderr
    assert folder_bytes(out) == folder_bytes(tmp_path / "whole")
    assert "nothing left to do" in train(capsys, home, out, "--resume").stdout
    assert train(capsys, home, out, "--resume", "--seed", 1).code == 2


def test_interrupted_training_that_replaces_another_goes_on(capsys, home, tmp_path, monkeypatch):
    out = tmp_path / "out"
    few = ("--image-steps", 2, "--joint-steps", 0, "--batch-size", 4, "--save-every", 1)
    assert train(capsys, home, out, few=few).code == 0
    before = folder_bytes(out)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "stop", lambda self: True)
        stopped = train(capsys, home, out, "--force", few=few)
        assert "--resume in the place of --force goes on" in stopped.stderr
    (out / "old").touch()
    assert "resuming: 1 of 2 steps are done" in train(capsys, home, out, "--resume", few=few).stderr
    assert folder_bytes(out) == before  # of the same options; without what was there

    assert train(capsys, home, tmp_path / "two", few=few).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "stop", lambda self: True)
        assert train(capsys, home, tmp_path / "new", few=few).code == 130
    (tmp_path / "two").rename(tmp_path / "new")  # appeared meanwhile: nobody has said that it may be replaced
    assert "is not empty" in train(capsys, home, tmp_path / "new", "--resume", few=few).stderr


def test_pairs_of_val_and_test_are_not_trained_on(capsys, home, tmp_path):
    lines = [json.loads(line) for line in (home / "pairs.jsonl").read_text().splitlines()[:8]]
    splits = ["train", None, "train", "test", "test", "train", "val", "val"]
    marked = [
        {**line, "split": split, **({"label": "secret"} if row == 6 else {})}
        for row, (line, split) in enumerate(zip(lines, splits, strict=True))
    ]
    (home / "marked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in marked))
    few = ("--image-steps", 1, "--joint-steps", 0)
    got = invoke(capsys, "omnivl", "train", home / "marked.jsonl", tmp_path / "out", *few, "--json")
    facts = json.loads(got.stdout)
    assert (facts["pairs"], facts["classes"]) == (4, ["dog"])
    assert "4 of 8 pairs are of other splits than train and left out" in got.stderr


def test_ctrl_c_keeps_the_step_and_tells_how_to_go_on(home, tmp_path):
    out = tmp_path / "out"
    more = ("--image-steps", 100_000, "--joint-steps", 0, "--batch-size", 4, "--save-every", 2, "--quiet")
    process = start_cli("omnivl", "train", home / "pairs.jsonl", out, *more)
    while process.poll() is None and not list((tmp_path / "out.partial").glob("step-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    step = int(next((tmp_path / "out.partial").glob("step-*")).name.removeprefix("step-"))
    assert f"error: interrupted: step {step} of 100000 is kept. The same command with --resume goes on." in stderr
    assert len(read_log(tmp_path / "out.partial" / training_folder.LOG)) == step
    assert not out.exists()


def test_model_goes_on_from_a_finished_one(capsys, home, tmp_path):
    assert train(capsys, home, tmp_path / "a", "--joint-steps", 0).code == 0
    got = train(capsys, home, tmp_path / "b", "--image-steps", 0, "--from", tmp_path / "a", "--learning-rate", 1e-6)
    assert got.code == 0, got.stderr
    first, second = (OmniVLModel.from_pretrained(tmp_path / name) for name in "ab")
    torch.testing.assert_close(first.text_projection.weight, second.text_projection.weight, atol=1e-4, rtol=0)
    assert not torch.equal(first.text_projection.weight, second.text_projection.weight)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps({**config, "trained_on": [1, {}, "questions"]}))
    strange = train(capsys, home, tmp_path / "d", "--image-steps", 0, "--from", tmp_path / "a")
    assert strange.code == 0, strange.stderr
    known = json.loads((tmp_path / "d" / "config.json").read_text())["trained_on"]
    assert known == ["captions", "labels", "questions"]
    wrong = train(capsys, home, tmp_path / "c", "--from", tmp_path / "a", "--size", "small")
    assert (wrong.code, "Leave out size" in wrong.stderr) == (2, True)
    (tmp_path / "a" / "model.safetensors").write_bytes(b"no")
    broken = train(capsys, home, tmp_path / "c", "--from", tmp_path / "a")
    assert (broken.code, "does not load as a dense OmniVL" in broken.stderr) == (2, True)
    assert not (tmp_path / "c.partial").exists()


def test_model_begins_with_a_vit_and_a_bert(capsys, home, tmp_path):
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "picture", "number", "film", "a", *map(str, range(9))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    ViTModel(ViTConfig(**LAYERS, image_size=24, patch_size=8)).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(image_mean=[0.1] * 3, image_std=[0.2] * 3).save_pretrained(tmp_path / "vit")
    bert = BertModel(BertConfig(**LAYERS, vocab_size=len(words), max_position_embeddings=20))
    bert.save_pretrained(tmp_path / "bert")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    parts = ("--vision-init", tmp_path / "vit", "--text-init", tmp_path / "bert", "--learning-rate", 1e-6)
    got = train(capsys, home, tmp_path / "out", *parts)
    assert got.code == 0, got.stderr
    model, inputs = OmniVLModel.from_pretrained(tmp_path / "out"), OmniVLInputs(tmp_path / "out")
    assert list(inputs.processor.image_mean) == [0.1] * 3
    assert inputs.tokenizer.convert_tokens_to_ids(["[SEP]", "[DEC]", "[ENC]"]) == [3, len(words), len(words) + 1]
    assert (model.config.vision_config.image_size, model.config.text_config.vocab_size) == (24, len(words) + 2)
    own = model.text_encoder.embeddings.word_embeddings.weight[: len(words)]
    torch.testing.assert_close(own, bert.embeddings.word_embeddings.weight, atol=1e-4, rtol=0)
    alone = train(capsys, home, tmp_path / "half", *parts[:2])
    assert alone.code == 0, alone.stderr
    assert OmniVLModel.from_pretrained(tmp_path / "half").config.text_config.hidden_size == 32


def test_options_come_from_yaml_and_flags_win(capsys, home, tmp_path):
    (tmp_path / "o.yaml").write_text(
        "image-steps: 2\njoint-steps: 0\nvision: {num_hidden_layers: 1, patch_size: 16}\nseed: 5\n"
    )
    got = train(capsys, home, tmp_path / "out", "--config", tmp_path / "o.yaml", "--seed", 3, "--json", few=())
    assert got.code == 0, got.stderr
    facts = json.loads(got.stdout)
    assert (facts["steps"], facts["fingerprint"]["seed"]) == (2, 3)
    assert OmniVLModel.from_pretrained(tmp_path / "out").config.vision_config.num_hidden_layers == 1
    (tmp_path / "o.yaml").write_text("vision: {layers: 1}\n")
    wrong = train(capsys, home, tmp_path / "no", "--config", tmp_path / "o.yaml")
    assert (wrong.code, "vision: layers is no field of OmniVLVisionConfig" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("lines", "more", "told"),
    [
        ([{"image": "0.png", "text": "a"}], (), "no videos among the pairs"),
        ([{"video": "0.npy", "text": "a"}], (), "there are no images among the pairs"),
        (
            [{"image": "x.png", "text": "a"}, {"video": "y.npy", "text": "a"}],
            (),
            "x.png: 2 of 2 images and videos are not there",
        ),
        ([{"image": "0.png", "txt": "a"}], (), "line 1: expected"),
        ([{"image": "0.png", "text": "a", "split": "test"}], (), 'no pair is of "train"'),
        (None, ("--image-steps", 0, "--joint-steps", 0), "both are 0"),
        (None, ("--image-steps", -1), "image-steps"),
        (None, ("--momentum", 2), "momentum"),
        (None, ("--learning-rate", "nan"), "learning-rate"),
        (None, ("--frames", 3), "frames"),
        (None, ("--plot", "loss.bmp"), "ends in .png"),
        (None, ("--vision-init", "nowhere"), "nowhere: no such folder"),
        (None, ("--resume", "--force"), "give one of them"),
    ],
)
def test_bad_input_is_one_red_line_before_any_work(capsys, home, tmp_path, lines, more, told):
    manifest = home / f"{tmp_path.name}.jsonl"
    manifest.write_text(
        (home / "pairs.jsonl").read_text() if lines is None else "".join(json.dumps(x) + "\n" for x in lines)
    )
    got = invoke(capsys, "omnivl", "train", manifest, tmp_path / "out", *FEW, *more)
    assert got.code == 2
    last = got.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last
    assert not list(tmp_path.iterdir())


def test_out_that_is_in_use_is_left_alone(capsys, home, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    for more, told in (((), "is not empty"), (("--force",), "holds no model")):
        got = train(capsys, home, tmp_path / "out", *more)
        assert (got.code, told in got.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "config.json").touch()
    assert train(capsys, home, tmp_path / "out", "--force").code == 0
    assert not (tmp_path / "out" / "mine.txt").exists()


def test_loss_without_end_is_one_line_and_keeps_nothing(capsys, home, tmp_path):
    got = train(capsys, home, tmp_path / "out", "--learning-rate", 1e30)
    assert got.code == 2
    assert "no finite number any more" in got.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
