import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress.vision_language.omnivl import Keys, MemoryBank, univlc_loss
from fmcompress.vision_language.omnivl.univlc import univlc_losses


def rows(count: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1)


def golden(visual, text, labels, keys_visual, keys_text, keys_labels, temperature, mean):
    """Both directions, by loops in float64."""
    sides = []
    for queries, keys in ((visual, keys_text), (text, keys_visual)):
        total = 0.0
        for query, label in zip(queries, labels, strict=True):
            logits = [float(np.dot(query, key)) / temperature for key in keys]
            highest = max(logits)
            log_sum = highest + math.log(sum(math.exp(logit - highest) for logit in logits))
            found = [log_sum - logit for logit, other in zip(logits, keys_labels, strict=True) if other == label]
            total += sum(found) / (len(found) if mean else 1)
        sides.append(total / len(labels))
    return sides


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(0, 9), st.integers(1, 4), st.booleans(), st.integers(0, 10**6))
def test_loss_is_the_formula(items, banked, classes, mean, seed):
    visual, text, labels = rows(items, 6, seed), rows(items, 6, seed + 1), torch.arange(items) % classes
    bank = Keys(rows(banked, 6, seed + 2), rows(banked, 6, seed + 3), torch.arange(banked) % (classes + 1))
    keys = Keys(*(torch.cat(both) for both in zip((visual, text, labels), bank, strict=True)))
    expected = golden(*(x.numpy() for x in (visual, text, labels, *keys)), 0.2, mean)
    reduction = "mean_pos" if mean else "sum_pos"
    got = univlc_losses(visual, text, labels, keys=keys, temperature=0.2, reduction=reduction)
    assert [float(side) for side in got] == pytest.approx(expected, rel=1e-12)
    both = univlc_loss(visual, text, labels, keys=keys, temperature=0.2, reduction=reduction)
    assert float(both) == pytest.approx(sum(expected) / 2, rel=1e-12)


def test_with_labels_of_their_own_it_is_clips_loss():
    visual, text, own = rows(8, 16, 0), rows(8, 16, 1), torch.arange(8)
    logits = visual @ text.T / 0.07
    to_text, to_visual = univlc_losses(visual, text, own)
    assert float(to_text) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, own)), rel=1e-14)
    assert float(to_visual) == pytest.approx(float(torch.nn.functional.cross_entropy(logits.T, own)), rel=1e-14)
    assert [float(to_text), float(to_visual)] == pytest.approx([5.0240275522, 5.5062516002], abs=5e-11)  # of golden()


@pytest.mark.parametrize("times", [2, 3, 5])
def test_equal_captions_of_a_class_are_its_cross_entropy_and_log_of_their_number(times):
    classes = 4
    captions, labels = rows(classes, 12, 5), torch.arange(classes).repeat_interleave(times)
    visual = rows(classes * times, 12, 6)
    to_text, _ = univlc_losses(visual, captions[labels], labels)
    over_classes = torch.nn.functional.cross_entropy(visual @ captions.T / 0.07, labels)
    assert float(to_text) == pytest.approx(float(over_classes) + math.log(times), rel=1e-12)


def test_one_prompt_a_class_makes_it_plain_contrast():
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    visual, text = rows(7, 12, 5), rows(4, 12, 6)[labels]
    both = [univlc_losses(visual, text, own) for own in (labels, torch.arange(7))]
    assert [float(x) for x in both[0]] == pytest.approx([float(x) for x in both[1]], rel=1e-12)
    prompts = rows(7, 12, 7)  # another for each item: then labels matter
    both = [univlc_loss(visual, prompts, own) for own in (labels, torch.arange(7))]
    assert abs(float(both[0]) - float(both[1])) > 1e-3


def test_sum_over_balanced_labels_is_their_number_times_the_mean():
    visual, text, labels = rows(8, 16, 2), rows(8, 16, 3), torch.arange(4).repeat_interleave(2)
    mean, total = (univlc_loss(visual, text, labels, reduction=r) for r in ("mean_pos", "sum_pos"))
    assert float(total) == pytest.approx(2 * float(mean), rel=1e-14)


def test_one_tower_is_supcon_with_itself_among_the_positives():
    visual, labels = rows(6, 8, 4), torch.tensor([0, 0, 1, 1, 1, 2])
    log_shares = (visual @ visual.T / 0.1).log_softmax(dim=1)
    same = labels[:, None] == labels[None]
    supcon = -torch.stack([log_shares[row][same[row]].mean() for row in range(6)]).mean()
    assert float(univlc_loss(visual, visual, labels, temperature=0.1)) == pytest.approx(float(supcon), rel=1e-14)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_negatives_of_the_bank_never_lower_it(banked, seed):
    visual, text, own = rows(5, 8, seed), rows(5, 8, seed + 1), torch.arange(5)
    others = Keys(rows(banked, 8, seed + 2), rows(banked, 8, seed + 3), 100 + torch.arange(banked))
    keys = Keys(*(torch.cat(both) for both in zip((visual, text, own), others, strict=True)))
    with_bank, without = (univlc_losses(visual, text, own, keys=k) for k in (keys, None))
    assert all(float(a) >= float(b) for a, b in zip(with_bank, without, strict=True))


def test_no_gradient_reaches_the_bank():
    bank = MemoryBank(8, 4)
    source = rows(4, 8, 0).float().requires_grad_()
    bank.push(Keys(source, source, torch.arange(4)))
    visual, text = (rows(3, 8, seed).float().requires_grad_() for seed in (1, 2))
    keys = bank.after(Keys(visual.detach(), text.detach(), torch.arange(3)))
    univlc_loss(visual, text, torch.arange(3), keys=keys).backward()
    assert source.grad is None
    assert visual.grad.abs().sum() > 0


def test_bank_is_first_in_first_out_whatever_the_batches():
    bank, every = MemoryBank(3, 5), []
    for number, count in enumerate([2, 4, 1, 7, 3, 0]):
        new = Keys(rows(count, 3, number), rows(count, 3, 50 + number), torch.arange(count) + 10 * number)
        every.append(new)
        bank.push(new)
        whole = Keys(*(torch.cat(parts)[-5:] for parts in zip(*every, strict=True)))
        kept = bank.keys()
        assert len(bank) == len(whole.labels)
        assert kept.labels.tolist() == whole.labels.tolist()
        assert torch.equal(kept.visual, whole.visual.float())
        assert torch.equal(kept.text, whole.text.float())


def test_empty_bank_adds_nothing_and_a_bank_of_no_size_stays_empty():
    visual, text, own = rows(4, 8, 0), rows(4, 8, 1), torch.arange(4)
    for bank in (MemoryBank(8, 6), MemoryBank(8, 0)):
        keys = bank.after(Keys(visual, text, own))
        assert float(univlc_loss(visual, text, own, keys=keys)) == float(univlc_loss(visual, text, own))
    bank.push(Keys(visual, text, own))
    assert len(bank) == len(bank.keys().labels) == 0


def test_bank_goes_on_from_its_state():
    first, second = MemoryBank(4, 6), MemoryBank(4, 6)
    for seed in range(3):
        first.push(Keys(rows(4, 4, seed), rows(4, 4, seed + 9), torch.arange(4)))
    second.load_state_dict(first.state_dict())
    for bank in (first, second):
        bank.push(Keys(rows(3, 4, 20), rows(3, 4, 21), torch.arange(3)))
    assert all(torch.equal(a, b) for a, b in zip(first.keys(), second.keys(), strict=True))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: univlc_loss(rows(3, 4, 0), rows(2, 4, 0), torch.arange(3)), "visual, text, labels"),
        (lambda: univlc_loss(rows(3, 4, 0), rows(3, 4, 0), torch.arange(3), reduction="sum"), "mean_pos or sum_pos"),
        (lambda: univlc_loss(rows(3, 4, 0), rows(3, 4, 0), torch.arange(3).float()), "int64"),
        (
            lambda: univlc_loss(
                rows(1, 4, 0),
                rows(1, 4, 0),
                torch.tensor([1]),
                keys=Keys(rows(1, 4, 0), rows(1, 4, 0), torch.tensor([2])),
            ),
            "one at least of every label",
        ),
        (
            lambda: univlc_loss(
                rows(1, 4, 0),
                rows(1, 4, 0),
                torch.tensor([1]),
                keys=Keys(rows(1, 5, 0), rows(1, 5, 0), torch.tensor([1])),
            ),
            r"expected \[1, 4\] twice",
        ),
        (lambda: MemoryBank(4, 2).push(Keys(rows(1, 5, 0), rows(1, 5, 0), torch.tensor([1]))), r"expected \[1, 4\]"),
        (lambda: MemoryBank(0, 2), "dim of 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
