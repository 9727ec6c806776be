"""Pictures of accuracies by group: what is drawn, the same bytes each time, whole or not at all."""

import numpy as np
import pytest

from fmcompress.clip import group_report
from fmcompress.clip.pictures import MOST, plot_groups
from fmcompress.errors import ConfigError, DiskError

pytest.importorskip("matplotlib")


def report(groups=4, seed=0, names=()):
    generator = np.random.default_rng(seed)
    right = generator.random(50 * groups) < 0.7
    return group_report(right, np.ones(50 * groups, bool), np.arange(50 * groups) % groups, names)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_equal_reports_give_equal_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        plot_groups({"before": report(), "after": report(seed=1)}, tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def test_names_numbers_and_methods_are_there(tmp_path):
    names = ("land bird on $land$", "water bird", "a", "b")
    reports = {"bef$or$e": report(names=names), "after": report(seed=1, names=names)}
    with pytest.MonkeyPatch.context() as patch:
        import matplotlib

        patch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
        plot_groups(reports, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    for name in names:
        assert f"{name} (50)" in drawn
    for name, found in reports.items():
        assert f"{name}: worst {100 * found.worst:.1f} %, average {100 * found.average:.1f} %" in drawn


def test_of_many_groups_the_worst_are_drawn(tmp_path):
    many = report(groups=300)
    with pytest.MonkeyPatch.context() as patch:
        import matplotlib

        patch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
        plot_groups({"all": many}, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert f"the worst {MOST} of 300" in drawn
    assert f"{many.worst_group} (50)" in drawn
    assert drawn.count(" (50)") == MOST


def test_what_cannot_be_drawn_is_told(tmp_path):
    for reports, told in (
        ({}, "reports: expected 1 to 7 to draw, got 0"),
        ({str(n): report() for n in range(8)}, "got 8"),
        ({"a": report(), "b": report(groups=5)}, "b: expected the groups of the first report"),
    ):
        with pytest.raises(ConfigError, match=told):
            plot_groups(reports, tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"ends in \.png, \.svg or \.pdf"):
        plot_groups({"a": report()}, tmp_path / "a.jpeg")
    with pytest.raises(DiskError):
        plot_groups({"a": report()}, tmp_path / "no" / "a.png")
