"""The bench of single ops: what it compares is launched alike, and one case that is wrong hides no other."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import gpu
import gpu_ops

import fmcompress

CASES = gpu_ops.make_cases(torch.device("cpu"), 32, 128)
aten = torch.ops.aten


class NoLook(TorchDispatchMode):
    """Refuses what reads a number of a tensor, which no graph can hold."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (aten._local_scalar_dense.default, aten.nonzero.default), func
        masks = args[1] if func in (aten.index.Tensor, aten.index_put_.default) else []
        assert not [mask for mask in masks if mask is not None and mask.dtype == torch.bool], func
        return func(*args, **(kwargs or {}))


def test_no_baseline_of_a_graph_looks_at_a_number():
    looking = set()
    for case in CASES:
        with fmcompress.use("reference"):
            try:
                with NoLook():
                    (case.eager or case.call)(*(tensor.clone() for tensor in case.tensors))
            except AssertionError:
                looking.add(case.name)
    assert looking == {case.name for case in CASES if case.waits}


def test_equal_scores_may_be_chosen_otherwise():
    """Among millions of scores two are equal where they are cut; torch.topk says not which of them it takes."""
    scores = torch.ones(1, 4096)
    scores[0, ::2] = torch.rand(2048)
    (case,) = (case for case in gpu_ops._selecting(scores.view(32, 128)) if "layer" in case.name)
    mask = case.call(case.tensors[0])
    other = mask.clone()
    other[0, [mask[0].nonzero()[-1].item(), (~mask[0]).nonzero()[-1].item()]] ^= True
    assert not gpu_ops.differs(case, [mask], [other])
    assert gpu_ops.differs(case, [mask], [~mask])


def test_a_wrong_result_is_said_and_hides_no_other(tmp_path, monkeypatch):
    def differs(case, found, wanted):
        return case.name == "dequantize"

    cases = [case for case in CASES if "quantize" in case.name]
    monkeypatch.setattr(gpu_ops, "make_cases", lambda *given: cases)
    monkeypatch.setattr(gpu_ops, "differs", differs)
    monkeypatch.setattr(gpu, "measured_ceilings", lambda device, small: {"copy": 1e9, "float32": 1e9})
    monkeypatch.setattr(
        sys, "argv", ["gpu_ops.py", "--small", "--device", "cpu", "--json", str(tmp_path / "rows.json")]
    )
    with pytest.raises(SystemExit, match="dequantize, native: the result is not the baseline's"):
        gpu_ops.main()
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(rows) == len(cases) - 1
    assert all(row["facts"]["baseline_plain_launches_s"] > 0 for row in rows)


def test_a_case_that_breaks_hides_no_other(tmp_path):
    rows = gpu.Rows(torch.device("cpu"), small=True)
    for broken in (ValueError("no"), SystemExit("wrong by 3"), None):
        with rows.case():
            if broken:
                raise broken
            rows.add(gpu.Row("solve", "the last", 1.0))
    assert [row.case for row in rows.rows] == ["the last"]
    with pytest.raises(SystemExit, match="ValueError: no; wrong by 3"):
        rows.end()
