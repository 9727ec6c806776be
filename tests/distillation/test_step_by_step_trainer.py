"""transformers' own Trainer: what gradient accumulation does to T5, and ours, which gives the large batch's gradient."""

import pytest
import torch
from student_cases import SUMS, gradients, objective, student, tokenizer
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from fmcompress.distillation.methods import StudentPrompts, rows_of, weights_of
from fmcompress.distillation.transformers_trainer import RowCollator, StepByStepTrainer
from fmcompress.errors import ConfigError
from fmcompress.training.text_rows import IGNORED, Row

WEIGHTS = weights_of("step-by-step", 0.25)


def arguments(folder, batch, accumulation):
    return TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, max_steps=1,
        learning_rate=0.0, max_grad_norm=0.0, report_to=[], save_strategy="no", use_cpu=True, seed=3,
        remove_unused_columns=False, logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip


def caught(base):
    """The trainer with the gradients of its step kept, summed over the batches."""

    class Caught(base):
        def create_optimizer(self, *given):
            optimizer = super().create_optimizer(*given)
            optimizer.register_step_pre_hook(lambda *_: self.keep())
            return optimizer

        def keep(self):
            self.kept = {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}

    return Caught


def ours(folder, kind, batch, accumulation, examples=SUMS[:8]):
    model, words = student(kind), tokenizer()
    rows = rows_of(examples, "step-by-step", StudentPrompts(), weights=WEIGHTS).examples
    trainer = caught(StepByStepTrainer)(
        model, arguments(folder, batch, accumulation), train_dataset=rows, data_collator=RowCollator(model, words),
        weights=WEIGHTS,
    )  # fmt: skip
    trainer.train()
    return trainer


def ratio(one, other):
    """one / other, if they point the same way; else None."""
    a, b = (torch.cat([each[name].flatten() for name in sorted(one)]) for each in (one, other))
    return float(a.norm() / b.norm()) if float(torch.cosine_similarity(a, b, dim=0)) > 0.9999 else None


def test_the_stock_trainer_adds_up_means_of_t5():
    """Labels of one length, so that the mean of means is the mean: accumulation should change nothing, and does."""
    words = tokenizer()

    def stock(folder, batch, accumulation):
        data = [
            {**words(f"predict: {one.input}", add_special_tokens=False), "labels": words(one.label)["input_ids"][:1]}
            for one in SUMS[:8]
        ]
        for row in data:
            row.pop("token_type_ids", None)
        model = student()
        trainer = caught(Trainer)(
            model, arguments(folder, batch, accumulation), train_dataset=data,
            data_collator=DataCollatorForSeq2Seq(words, model),
        )  # fmt: skip
        trainer.train()
        return trainer.kept

    assert ratio(stock("a", 2, 4), stock("b", 8, 1)) == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_accumulation_gives_the_gradient_of_the_large_batch(kind, tmp_path):
    """Rationales and labels of several lengths, and an example without a rationale."""
    examples = [SUMS[0].__class__("9 + 9", "1 2 3", None, None), *SUMS[:7]]
    whole = ours(tmp_path, kind, 8, 1, examples)
    for batch, accumulation in ((2, 4), (4, 2)):
        assert ratio(ours(tmp_path, kind, batch, accumulation, examples).kept, whole.kept) == pytest.approx(1, rel=1e-4)
    # and that of our own trainer
    own = gradients(objective(kind, alpha=0.25, examples=examples, batch_size=8))
    assert ratio(whole.kept, own) == pytest.approx(1, rel=1e-4)


def test_evaluation_and_another_collator(tmp_path):
    trainer = ours(tmp_path, "t5", 8, 1)
    trainer.args.prediction_loss_only = True
    rows = rows_of(SUMS[:8], "step-by-step", StudentPrompts(), weights=WEIGHTS).examples
    expected = sum(sum(losses.values()) for losses in objective(alpha=0.25, examples=SUMS[:8], batch_size=8).losses(0))
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
    with pytest.raises(ConfigError, match="RowCollator whose parts are label, rationale"):
        StepByStepTrainer(student(), arguments(tmp_path, 2, 1), train_dataset=rows, weights=WEIGHTS)


def test_the_collator_pads_and_differs_by_the_prefix_alone():
    model, words = student(), tokenizer()
    collate = RowCollator(model, words)
    rows = rows_of(SUMS[:4], "step-by-step", StudentPrompts()).examples
    batch = collate(rows)
    prefixes = [len(words(text, add_special_tokens=False)["input_ids"]) for text in ("predict:", "explain:")]
    inputs = [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert batch["parts"].tolist() == [0, 1] * 4
    for label, why in zip(inputs[::2], inputs[1::2], strict=True):
        assert label[prefixes[0] :] == why[prefixes[1] :]
        assert label != why
    for row, labels in zip([row for some in rows for row in some], batch["labels"], strict=True):
        expected = [*words(row.completion, add_special_tokens=False)["input_ids"], words.eos_token_id]
        assert labels.tolist() == expected + [IGNORED] * (len(labels) - len(expected))
    backwards = collate(rows[::-1])
    places = [6, 7, 4, 5, 2, 3, 0, 1]  # of the rows in the other order
    assert all(torch.equal(backwards[name], batch[name][places]) for name in batch)
    with pytest.raises(ConfigError, match="part 'other'"):
        collate([[Row("a", "1", "other")]])
