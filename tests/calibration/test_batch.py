"""What batches share, and what blocks hand to later blocks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fmcompress.calibration import Batch, share_equal
from fmcompress.calibration.batch import Handed


def batch(calls: dict[int, Any], length: int = 3) -> Batch:
    return Batch(torch.zeros(2, length, 4), calls, None, torch.zeros(2, length))


def test_equal_tensors_are_kept_once_and_others_stay() -> None:
    table, mask = torch.arange(4.0), torch.ones(3, 3)
    first = batch({0: ((table, None), {"mask": mask, "own": torch.ones(2)}), 1: ((table, None), {"mask": mask})})
    own, other_table = torch.zeros(2), table.clone()
    call = ((other_table, None), {"mask": mask.clone(), "own": own, "pair": (table.clone(), 5)})
    second, longer = batch({0: call, 1: ((other_table, None), {"mask": mask.double()})}), batch({0: ((), {})}, length=5)
    share_equal([first, second, longer])
    args, kwargs = second.calls[0]
    assert args[0] is table
    assert kwargs["mask"] is mask
    assert kwargs["own"] is own
    assert kwargs["pair"][1] == 5
    assert second.calls[1][0][0] is table
    assert second.calls[1][1]["mask"].dtype == torch.float64  # equal numbers of another dtype are no equal tensors
    assert longer.like is None
    share_equal([])


def test_what_is_handed_on_stands_in_later_calls() -> None:
    wanted, later = Handed(0, 0), Handed(1, 1)
    one = batch({0: ((), {}), 1: ((wanted,), {}), 2: ((), {"bias": [later, wanted]})})
    bias = torch.ones(2)
    one.hand_on(0, [bias, torch.zeros(1)])
    assert one.handed == {wanted: bias}  # nobody is given the second
    assert one.call(1) == ((bias,), {})
    assert one.calls[1] == ((wanted,), {})
    with pytest.raises(KeyError):
        one.call(2)
    one.hand_on(1, [None, 7])
    assert one.call(2)[1]["bias"][0] == 7


@pytest.mark.parametrize(("value", "kept"), [(torch.ones(2), True), (torch.zeros(2), False)])
def test_what_is_handed_on_is_kept_once_where_equal(value: Tensor, kept: bool) -> None:
    calls = {0: ((), {}), 1: ((Handed(0, 0),), {})}
    first, second = batch(dict(calls)), batch(dict(calls))
    share_equal([first, second])
    bias = torch.ones(2)
    first.hand_on(0, [bias])
    second.hand_on(0, [value])
    assert (second.handed[Handed(0, 0)] is bias) == kept
    assert second.handed[Handed(0, 0)].equal(value)
