"""distill train by a teacher's logits: against loops, 0 is plain fine-tuning, and who may teach."""

import json

import pytest
import torch
from helpers import invoke
from student_cases import SUMS, TEXTS, gradients, student, tokenizer, write_sums

from fmcompress.distillation.methods import StudentPrompts, rows_of
from fmcompress.distillation.text_logits import TextLogitObjective, load_teacher
from fmcompress.errors import CheckpointError
from fmcompress.training.start import new_tokenizer
from fmcompress.training.text_objective import TextObjective

KINDS = ["t5", "llama"]


def objective(kind, weight, **options):
    rows = rows_of(SUMS, "logits", StudentPrompts())
    teacher = student(kind, seed=7).eval().requires_grad_(False)
    return TextLogitObjective(
        student(kind), tokenizer(), rows.examples, rows.weights, teacher=teacher, teacher_weight=weight, **options
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weight_0_is_fine_tuning_bit_for_bit(kind):
    rows = rows_of(SUMS, "fine-tuning", StudentPrompts())
    plain = gradients(TextObjective(student(kind), tokenizer(), rows.examples, rows.weights))
    ours = gradients(objective(kind, 0.0))
    assert plain.keys() == ours.keys()
    assert all(torch.equal(plain[name], ours[name]) for name in plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_the_losses_are_those_of_one_row_after_another(kind, micro_batch):
    what = objective(kind, 0.25, batch_size=6, micro_batch=micro_batch, temperature=2.0)
    found = {}
    for losses in what.losses(1):
        for name, value in losses.items():
            found[name] = found.get(name, 0.0) + float(value.detach())
    nats = kl = count = 0.0
    with torch.no_grad():
        for row in what.drawn(1):
            batch = what.tokenizer.batch([row], torch.device("cpu"))
            size = len(row.completion)
            own, theirs = (m(**batch.inputs).logits[0, -size:].double() for m in (what.model, what.teacher))
            for place, token in enumerate(row.completion):
                p, q = (theirs[place] / 2).softmax(0), (own[place] / 2).softmax(0)
                kl += 4 * float((p * (p.log() - q.log())).sum())
                nats -= float(own[place].log_softmax(0)[token])
            count += size
    assert found == {
        "label": pytest.approx(0.75 * nats / count, rel=1e-4),
        "teacher": pytest.approx(0.25 * kl / count, rel=1e-4),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_learns_from_a_teacher(kind, tmp_path, capsys):
    data = write_sums(tmp_path)
    for name, seed in (("student", 0), ("teacher", 7)):
        student(kind, seed).save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    line = ["distill", "train", data, tmp_path / "out", "--method", "logits", "--student", tmp_path / "student",
            "--steps", 3, "--batch-size", 4, "--device", "cpu", "--json"]  # fmt: skip
    missing = invoke(capsys, *line)
    assert missing.code == 2
    assert "logits-teacher" in missing.stderr
    told = invoke(capsys, *line, "--logits-teacher", tmp_path / "teacher")
    assert told.code == 0, told.stderr
    losses = json.loads(told.stdout)["losses"]
    assert losses["teacher"] > 0
    assert losses["label"] > 0


def test_who_cannot_teach_is_told(tmp_path):
    for name, kind in (("t5", "t5"), ("llama", "llama")):
        student(kind).save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    with pytest.raises(CheckpointError, match="as the student is"):
        load_teacher(tmp_path / "llama", student("t5"), tokenizer(), torch.device("cpu"))
    new_tokenizer([*TEXTS, "other words"], 400, "words").save_pretrained(tmp_path / "t5")
    with pytest.raises(CheckpointError, match="other tokens"):
        load_teacher(tmp_path / "t5", student("t5"), tokenizer(), torch.device("cpu"))
