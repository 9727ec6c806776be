"""distill train and evaluate: a folder that others read, the same bytes after a stop, and one line for what is wrong."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import folder_bytes, invoke
from student_cases import FAST, SUMS, TEST, VALID, student, tokenizer, write_sums
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from fmcompress.distillation.examples import write_examples
from fmcompress.distillation.options import TrainOptions
from fmcompress.distillation.run import train_student
from fmcompress.errors import ConfigError
from fmcompress.options import resolve
from fmcompress.training import folder as training_folder
from fmcompress.training.folder import read_log
from fmcompress.training.text_objective import TextObjective


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sums(tmp_path_factory.mktemp("sums"))


def train(capsys, data, out, *more, new="t5"):
    begin = ("--new", new) if new else ()
    return invoke(capsys, "distill", "train", data, out, *FAST[: None if new else 4], *begin, *more)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_a_tiny_student_learns_sixteen_examples_whole(capsys, data, tmp_path, kind):
    more = ("--steps", 190, "--batch-size", 16, "--learning-rate", 0.01, "--save-every", 190, "--layers", 2)
    got = train(capsys, data, tmp_path / "out", *more, "--task", "number", "--plot", tmp_path / "loss.png", new=kind)
    assert got.code == 0, got.stderr
    asked = ("--json", "--rationale", "--out", tmp_path / "answers.jsonl")
    report = json.loads(invoke(capsys, "distill", "evaluate", tmp_path / "out", data, *asked).stdout)
    assert (report["accuracy"], report["unparsed"], report["examples"], report["task"]) == (1.0, 0, 24, "number")
    assert {split: of["examples"] for split, of in report["splits"].items()} == {"train": 16, "valid": 4, "test": 4}
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [one["rationale"] for one in answers[:16]] == [one.rationale for one in SUMS]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    assert auto.from_pretrained(tmp_path / "out").num_parameters() > 0


def test_a_single_task_student_is_asked_for_both_at_once(capsys, data, tmp_path):
    more = ("--steps", 190, "--batch-size", 16, "--learning-rate", 0.01, "--save-every", 190, "--layers", 2)
    got = train(capsys, data, tmp_path / "out", *more, "--method", "rationale-then-label", "--select", "last", "--json")
    facts = json.loads(got.stdout)
    assert facts["prompts"]["single"]
    assert facts["chosen"] == {"by": "last", "step": 190}
    report = json.loads(
        invoke(capsys, "distill", "evaluate", tmp_path / "out", data, "--split", "test", "--json").stdout
    )
    assert (report["accuracy"], report["examples"]) == (1.0, 4)
    few = invoke(capsys, "distill", "evaluate", tmp_path / "out", data, "--max-tokens", 3, "--json")
    assert json.loads(few.stdout)["unparsed"] == 24  # cut before "So the answer is"


def test_facts_tell_what_was_learned_and_the_best_of_valid_is_kept(capsys, data, tmp_path):
    out = tmp_path / "out"
    given = ("--alpha", 0.25, "--label-prefix", "label: ", "--learning-rate", 0.02, "--steps", 60, "--save-every", 15)
    facts = json.loads(train(capsys, data, out, *given, "--fraction", 0.5, "--json").stdout)
    assert facts["weights"] == {"label": 0.25, "rationale": 0.75}
    assert facts["counts"]["examples"] == 8
    assert facts["counts"]["label_rows"] == facts["counts"]["rationale_rows"] == 8
    assert facts["prompts"] == {
        "label_prefix": "label: ", "rationale_prefix": "explain: ", "separator": "", "single": False,
    }  # fmt: skip
    measured = {record["step"]: record["valid"] for record in read_log(out / training_folder.LOG) if "valid" in record}
    assert list(measured) == [15, 30, 45, 60]
    best = max(measured, key=lambda step: (measured[step], step))
    assert facts["chosen"] == {"by": "valid", "step": best, "accuracy": measured[best]}
    report = json.loads(invoke(capsys, "distill", "evaluate", out, data, "--split", "valid", "--json").stdout)
    assert report["accuracy"] == measured[best]
    assert json.loads((out / training_folder.FACTS).read_text())["counts"] == facts["counts"]


@pytest.mark.parametrize("method", ["step-by-step", "rationale-then-label"])
def test_interrupted_training_goes_on_to_the_same_bytes(capsys, data, tmp_path, monkeypatch, method):
    given = ("--method", method, "--task", "number", "--micro-batch", 3)
    assert train(capsys, data, tmp_path / "whole", *given).code == 0
    real = training_folder.TrainingFolder.save

    def killed(self, step, state):
        real(self, step, state)
        if step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_folder.TrainingFolder, "save", killed)
    assert train(capsys, data, tmp_path / "out", *given).code == 130
    monkeypatch.undo()
    other = train(capsys, data, tmp_path / "out", *given, "--resume", "--seed", 1)
    assert (other.code, "seed was 0 in the earlier run" in other.stderr) == (2, True)
    assert "resuming: 4 of 6 steps are done" in train(capsys, data, tmp_path / "out", *given, "--resume").stderr
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")
    assert "nothing left to do" in train(capsys, data, tmp_path / "out", *given, "--resume").stdout


def test_a_pruned_student_keeps_its_zeros_also_when_it_goes_on(capsys, data, tmp_path, monkeypatch):
    model = student("llama")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "proj" in name:
                weight[torch.rand(weight.shape, generator=generator) < 0.5] = 0
    zeros = {name: weight == 0 for name, weight in model.named_parameters() if "proj" in name}
    model.save_pretrained(tmp_path / "pruned")
    tokenizer().save_pretrained(tmp_path / "pruned")
    given = ("--student", tmp_path / "pruned", "--learning-rate", 0.01, "--save-every", 2)
    got = train(capsys, data, tmp_path / "out", *given, new=None)
    assert got.code == 0, got.stderr
    kept = sum(int(zero.sum()) for zero in zeros.values())
    assert f"{kept:,} of {sum(zero.numel() for zero in zeros.values()):,} weights stayed 0" in got.stdout
    after = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "out").named_parameters())
    assert all(torch.equal(after[name] == 0, zero) for name, zero in zeros.items())
    assert not torch.equal(after["model.embed_tokens.weight"], model.model.embed_tokens.weight)

    real = training_folder.TrainingFolder.save

    def killed(self, step, state):
        real(self, step, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_folder.TrainingFolder, "save", killed)
        assert train(capsys, data, tmp_path / "on", *given, new=None).code == 130
    (tmp_path / "pruned").rename(tmp_path / "gone")  # what goes on needs it no more
    assert train(capsys, data, tmp_path / "on", *given, "--resume", new=None).code == 0
    assert folder_bytes(tmp_path / "on") == folder_bytes(tmp_path / "out")


@pytest.mark.parametrize(
    ("examples", "more", "told"),
    [
        (None, ("--select", "test"), "chosen on the test split tells nothing"),
        (SUMS, ("--select", "valid"), 'no example of split "valid" has a label'),
        ([*VALID, *TEST], (), 'no example is of "train"'),
        (
            [replace(one, teacher_label=None) for one in SUMS],
            ("--method", "distillation"),
            "16 are without a teacher label",
        ),
        (
            [replace(one, rationale=None) for one in SUMS],
            ("--method", "rationale-then-label"),
            "0 are without a gold label, 16 without a rationale",
        ),
        (None, ("--method", "distillation", "--labels", "gold"), "Choose --method fine-tuning"),
        (None, ("--alpha", 0.3, "--rationale-weight", 1), "both say how the parts weigh"),
        (None, ("--alpha", 2), "alpha"),
        (None, ("--label-prefix", "x", "--rationale-prefix", "x"), "two that differ"),
        (None, ("--student", "nowhere"), "Give one"),
        (None, ("--task", "poems"), "task: expected one of"),
        (None, ("--fraction", 0), "fraction"),
        (None, ("--width", 33), "sizes of the model"),
        (None, ("--plot", "loss.bmp"), "ends in .png"),
        (None, ("--learning-rate", 1e30), "no finite number any more"),
    ],
)
def test_bad_input_is_one_red_line_and_leaves_nothing(capsys, data, tmp_path, examples, more, told):
    if examples is not None:
        data = tmp_path.parent / f"{tmp_path.name}.jsonl"
        write_examples(data, examples)
    got = train(capsys, data, tmp_path / "out", *more)
    assert got.code == 2
    last = got.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last
    assert not list(tmp_path.iterdir())


def test_evaluation_of_what_is_no_student_is_one_line(capsys, data, tmp_path):
    student().save_pretrained(tmp_path / "other")
    tokenizer().save_pretrained(tmp_path / "other")
    for args, told in (
        ((tmp_path / "other", data), "Use --asked-like"),
        ((tmp_path / "other", data, "--rationale"), "Give it"),
        ((tmp_path / "other", data, "--split", "dev"), "expected one of train, valid, test"),
    ):
        got = invoke(capsys, "distill", "evaluate", *args)
        assert (got.code, told in got.stderr.strip().splitlines()[-1]) == (2, True), got.stderr
    assert train(capsys, data, tmp_path / "out").code == 0
    got = invoke(capsys, "distill", "evaluate", tmp_path / "other", data, "--asked-like", tmp_path / "out", "--json")
    assert json.loads(got.stdout)["examples"] == 24


def test_test_is_refused_in_python_and_in_yaml_too(tmp_path):
    from fmcompress.distillation.options import TrainOptions

    with pytest.raises(ValueError, match="tells nothing any more"):
        TrainOptions(new="t5", select="test")
    (tmp_path / "o.yaml").write_text("new: t5\nselect: test\n")
    with pytest.raises(ConfigError, match="tells nothing any more"):
        resolve(TrainOptions, tmp_path / "o.yaml")


def test_a_stop_while_the_student_is_written_loses_nothing(capsys, data, tmp_path, monkeypatch):
    assert train(capsys, data, tmp_path / "whole").code == 0
    saved, written = PreTrainedModel.save_pretrained, []

    def stopped(model, folder):
        written.append(folder)
        if len(written) == 2:  # the first is of the beginning
            (folder / "model.safetensors").write_bytes(b"half")
            raise OSError("no space")
        saved(model, folder)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", stopped)
    assert "no space" in train(capsys, data, tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()
    got = train(capsys, data, tmp_path / "out", "--resume")
    assert got.code == 0, got.stderr
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_a_failure_of_any_kind_before_the_first_checkpoint_leaves_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(TextObjective, "losses", lambda self, step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_student(data, tmp_path / "out", TrainOptions(new="t5", steps=1, width=32, heads=2), device="cpu")
    assert list(tmp_path.iterdir()) == []
