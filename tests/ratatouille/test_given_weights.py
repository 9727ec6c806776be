"""What a caller's functions give back: copied, brought to one place, and refused in a line where it cannot be used."""

import pytest
import torch
from fake_training import PRETRAINED, Recorder
from torch import nn

from fmcompress.errors import ConfigError
from fmcompress.ratatouille import Ratatouille
from fmcompress.ratatouille.weights import check_untied, copied

BODY, HEAD = "body.weight", "head.weight"


def recipe(**options):
    recorder = Recorder()
    given = {"pretrained": PRETRAINED, "train": recorder.train, "validate": recorder.validate, "runs": 2, **options}
    return Ratatouille(head="head", auxiliaries=["one"], **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": lambda weights, job: None}, "probe: expected weights by name, such as a state dict, got NoneType"),
        ({"train": lambda weights, job: nn.Linear(1, 1)}, "probe: expected weights by name.* got Linear"),
        ({"train": lambda weights, job: weights | {"body.x": b"1"}}, "probe: body.x: expected a tensor, got bytes"),
        ({"pretrained": nn.Linear(1, 1)}, "pretrained: expected weights by name.* got Linear"),
        ({"pretrained": PRETRAINED | {"x": torch.ones(1, dtype=torch.complex64)}}, "x: torch.complex64 can be neither"),
        (
            {"pretrained": PRETRAINED | {"x": torch.ones(1).to(torch.float8_e5m2)}},
            "x: torch.float8_e5m2 can be neither",
        ),
        ({"validate": lambda weights: None}, "validate: expected a finite number.* got None"),
        ({"validate": lambda weights: torch.ones(2)}, r"validate: expected a finite number.* got tensor\(\[1., 1.\]\)"),
        ({"recompute": lambda weights: None}, "recompute: expected weights by name"),
        ({"recompute": lambda weights: weights | {"x": torch.ones(1)}}, "recompute: has a strange tensor 'x'"),
        ({"recompute": lambda weights: {HEAD: weights[HEAD]}}, "recompute: lacks tensor 'body.weight'"),
    ],
)
def test_what_is_no_weights_is_told_in_a_line(options, message):
    with pytest.raises(ConfigError, match=message) as raised:
        recipe(**options).cook("ratatouille")
    assert "\n" not in str(raised.value)


def test_errors_of_a_callers_function_are_left_as_they_are():
    def validate(weights):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        recipe(validate=validate).cook("erm")


def test_a_head_that_is_tied_to_the_featuriser_is_no_head():
    """Loaded below another featuriser it would overwrite a part of it, as an lm_head does its embeddings."""
    model = nn.ModuleDict({"body": nn.Linear(3, 3, bias=False), "head": nn.Linear(3, 3, bias=False)})
    pretrained = model.state_dict()
    model["head"].weight = model["body"].weight
    with pytest.raises(ConfigError, match=r"probe: head.weight is tied to body.weight.* Untie them"):
        recipe(pretrained=pretrained, train=lambda weights, job: model.state_dict()).cook("erm")
    untied = {name: one.clone() for name, one in model.state_dict().items()}
    check_untied(untied | {"body.none": torch.empty(0), "head.none": torch.empty(0)}, "head", "equal numbers")
    free = recipe(pretrained=model.state_dict(), train=lambda w, job: {**untied, **w}, validate=lambda weights: 0.0)
    assert free.cook("erm")["erm"].weights.keys() == untied.keys()


def test_weights_are_brought_to_one_device():
    far = torch.device("meta")
    assert copied({"a": torch.ones(2), "b": torch.ones(2)}, "x", far)["b"].device == far
    assert {one.device for one in copied({"a": torch.ones(2, device=far), "b": torch.ones(1)}, "x").values()} == {far}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_function_may_train_on_another_device():
    recorder = Recorder()

    def train(weights, job):
        return {name: one.cuda() for name, one in recorder.train(weights, job).items()}

    dishes = recipe(train=train).cook()
    assert {one.device.type for dish in dishes.values() for one in dish.weights.values()} == {"cpu"}


def test_recomputed_statistics_may_come_with_a_head_where_there_is_none():
    """For fusing a featuriser is averaged alone; a model that ran it has a head of its own."""
    fused = recipe(recompute=lambda weights: weights | {HEAD: torch.tensor([9.0])}).cook("fusing")["fusing"]
    assert fused.weights[HEAD].item() != 9.0


def test_a_folder_may_be_text_and_a_first_write_may_be_cut_off(tmp_path):
    (tmp_path / "recipe.json.partial").write_text("{")
    recipe(folder=str(tmp_path)).cook("erm")
    assert (tmp_path / "recipe.json").exists()
