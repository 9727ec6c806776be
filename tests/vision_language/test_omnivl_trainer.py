import math

import numpy as np
import pytest
import torch
from omnivl_cases import pixels, tiny_config, tiny_omnivl
from training_cases import said, trainer

from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.training.schedule import Schedule
from fmcompress.vision_language.omnivl.data import CAPTION, LABEL, QUESTION, TensorPairs
from fmcompress.vision_language.omnivl.objective import LOSSES, Objective
from fmcompress.vision_language.omnivl.stages import Stage
from fmcompress.vision_language.omnivl.train import Trainer


def of_videos(name):
    return "temporal" in name or "time_embeddings" in name or "video_projection" in name


def parameters(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def tensors(one):
    return {f"{part}.{name}": value.clone() for part, all_ in one.state().items() for name, value in all_.items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_all_losses_fall_on_a_handful_of_pairs():
    kinds = [CAPTION] * 4 + [LABEL] * 4 + [QUESTION] * 4
    memory = TensorPairs(said(12, kinds=kinds, labels=[4, 5, 6, 7, 0, 0, 1, 1, 8, 9, 10, 11]), pixels(12))
    objective = Objective(tiny_omnivl(), momentum=0, bank=0)
    records = []
    Trainer(objective, memory, [Stage("image", 250)], Schedule(12, 3e-3)).run(records.append)
    for name, of_chance in zip(LOSSES, (0.7, 0.2, 0.3, 0.3), strict=True):
        assert records[-1][name] < of_chance * records[0][name], name
    assert [record["step"] for record in records] == list(range(1, 251))
    assert records[-1]["loss"] == pytest.approx(sum(records[-1][name] for name in LOSSES))


def test_images_leave_what_is_of_videos_and_both_move_it():
    one = trainer([Stage("image", 3), Stage("joint", 4)])
    before = parameters(one.model)
    one.run(until=3)
    after = parameters(one.model)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if of_videos(name)}
    assert not any(parameter.grad is not None for name, parameter in one.model.named_parameters() if of_videos(name))
    moments = one.optimizer.state
    assert all((parameter in moments) != of_videos(name) for name, parameter in one.model.named_parameters())
    one.run()
    assert not [name for name, value in one.model.named_parameters() if torch.equal(value, before[name])]


def test_images_alone_end_with_videos_that_are_their_frames():
    one = trainer([Stage("image", 3)])
    one.run()
    encoder, images = one.model.eval().visual_encoder, pixels(2)
    still = images[:, None].expand(-1, 8, -1, -1, -1)
    torch.testing.assert_close(encoder(still).pooler_output, encoder(images).pooler_output, atol=1e-5, rtol=1e-4)


def test_what_videos_of_one_tube_taught_is_not_taken_back():
    videos = TensorPairs(said(4), videos=pixels(4, 2))  # two frames, one tube: no place in time
    objective = Objective(tiny_omnivl(), momentum=0, bank=0)
    Trainer(objective, videos, [Stage("joint", 2, 1.0)], Schedule(4)).run()
    patches = objective.model.visual_encoder.patch_embeddings
    learned = patches.video_projection.weight.clone()
    assert objective.model.visual_encoder.knows_videos
    Trainer(objective, videos, [Stage("joint", 1, 1.0)], Schedule(4, 1e-12, weight_decay=0)).run()
    torch.testing.assert_close(patches.video_projection.weight, learned)
    assert not torch.allclose(learned, patches.inflated(), atol=1e-5)


def test_videos_begin_with_the_kernel_of_images_once(monkeypatch):
    one = trainer([Stage("image", 3), Stage("joint", 2), Stage("joint", 2)])
    one.run(until=3)
    patches, followed = (m.visual_encoder.patch_embeddings for m in (one.model, one.objective.momentum.model))
    assert not torch.equal(patches.video_projection.weight, patches.inflated())
    with monkeypatch.context() as standing:
        standing.setattr(one.optimizer, "step", lambda: None)
        one.run(until=4)  # of images
    torch.testing.assert_close(patches.video_projection.weight, patches.inflated())
    torch.testing.assert_close(followed.video_projection.weight, followed.inflated())
    one.run(until=5)
    learned = patches.video_projection.weight.clone()
    one.run(until=6)  # the next stage's first, of images
    assert torch.equal(patches.video_projection.weight, learned)


@pytest.mark.parametrize("momentum", [0.9, 0])
@pytest.mark.parametrize("stop", [1, 4, 6, 9])
def test_training_that_goes_on_ends_as_one_that_was_not_interrupted(stop, momentum):
    stages = [Stage("image", 4), Stage("joint", 6)]
    whole, records = trainer(stages, items=5, batch=3, momentum=momentum), []
    whole.run(records.append)
    first, later = trainer(stages, items=5, batch=3, momentum=momentum), []
    first.run(later.append, until=stop)
    state = {part: {name: value.clone() for name, value in all_.items()} for part, all_ in first.state().items()}
    first.run()  # must not change what was taken
    second = trainer(stages, items=5, batch=3, momentum=momentum)
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.zero_()
    torch.manual_seed(stop)
    second.load(stop, state)
    second.run(later.append)
    assert equal(tensors(second), tensors(whole))
    assert later == records


def test_equal_seeds_train_equally_and_others_do_not():
    first, second, other = (trainer([Stage("image", 4)], items=9, batch=3, seed=seed) for seed in (1, 1, 2))
    state = torch.random.get_rng_state()
    for one in (first, second, other):
        one.run()
    assert equal(parameters(first.model), parameters(second.model))
    assert not equal(parameters(first.model), parameters(other.model))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_chance_differs_from_step_to_step(monkeypatch):
    one, seeds = trainer([Stage("image", 3)]), []
    real = one.objective.losses
    spied = lambda batch, generator: seeds.append(generator.initial_seed()) or real(batch, generator)  # noqa: E731
    monkeypatch.setattr(one.objective, "losses", spied)
    one.run()
    assert len(set(seeds)) == 3


def test_temperature_stays_within_its_limits_and_comes_back():
    one = trainer([Stage("image", 20)], learning_rate=0.05)
    for limit in (0.5, 0.001):
        with torch.no_grad():
            one.model.logit_scale.fill_(-math.log(limit) + (1 if limit < 0.1 else -1))
        one.one()
        assert 0.001 < float(one.model.temperature.detach()) < 0.5
        one.one()
        assert one.model.logit_scale.grad != 0


def test_loss_that_is_no_number_stops_before_it_harms():
    one = trainer([Stage("image", 6)], learning_rate=1e-3)
    one.run(until=2)
    one.dataset.images[:] = float("nan")
    before = tensors(one)
    with pytest.raises(
        CalibrationError, match=r"step 3 of 6: no finite number any more \(contrastive nan.*lower --learning-rate"
    ):
        one.run()
    after = tensors(one)
    kept = [name for name in before if not name.startswith(("bank", "momentum"))]
    assert one.step == 2
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_state_of_another_training_is_refused():
    one, other = trainer([Stage("image", 2)]), trainer([Stage("image", 2)], bank=16)
    with pytest.raises(ConfigError, match="bank: expected the tensors of this training"):
        one.load(1, other.state())


def test_matrices_decay_and_the_rest_does_not():
    one = trainer([Stage("image", 2)])
    decaying, others = (group["params"] for group in one.optimizer.param_groups)
    assert all(parameter.dim() >= 2 for parameter in decaying)
    assert any(parameter is one.model.logit_scale for parameter in others)
    assert len(decaying) + len(others) == len(list(one.model.parameters()))


def test_any_dataset_will_do():
    class Twice:
        videos = np.zeros(4, dtype=bool)

        def __len__(self):
            return 4

        def batch(self, rows):
            return TensorPairs(said(4), pixels(4)).batch(rows)

    one = Trainer(Objective(tiny_omnivl()), Twice(), [Stage("image", 2)])
    one.run()
    assert one.step == 2


def test_dropout_is_drawn_by_seed_and_step_whatever_the_global_generator_is():
    def told(global_seed, seed=0):
        config = tiny_config(hidden_dropout_prob=0.5)
        what = Objective(tiny_omnivl(config=config), bank=0, momentum=0)
        memory = TensorPairs(said(6), pixels(6))
        with torch.random.fork_rng():
            torch.manual_seed(global_seed)
            records = []
            Trainer(what, memory, [Stage("image", 2)], Schedule(6, 1e-9, seed=seed)).run(records.append)
        return [record["captions"] for record in records]

    first = told(1)
    assert first == told(2)
    assert first[0] != pytest.approx(first[1], rel=1e-6)  # the same items: another mask at each step
    assert first != told(1, seed=1)
