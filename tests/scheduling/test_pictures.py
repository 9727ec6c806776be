"""Pictures of plans: what is in them, and that drawing leaves nothing behind."""

import builtins
import warnings
from dataclasses import replace

import numpy as np
import pytest

from fmcompress import drawing as shared
from fmcompress.errors import ConfigError, DiskError
from fmcompress.scheduling import Network, Workload, simulate
from fmcompress.scheduling.baselines import baseline
from fmcompress.scheduling.maps import map_of, where_is
from fmcompress.scheduling.pictures import cost_words, plot_compare, plot_plan, plot_simulation, stage_colours

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

CITIES = ("Oregon", "Tokyo", "London", "Frankfurt")
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def network_of(count, regions=()):
    """Devices in a square, on random places; with regions, in turn."""
    places = np.random.default_rng(count).uniform(0, 0.1, (count, 2))
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    return Network(far, 1e9 / (1 + far), regions=tuple(regions[i % len(regions)] for i in range(count * bool(regions))))


def plan_of(network, stages, replicas, model="paper", **facts):
    return baseline(network, Workload(stages, replicas, 1e8, 2e8, 4, **facts), "random", model)


@pytest.fixture
def kept(monkeypatch):
    """Figures that were saved."""
    from matplotlib.figure import Figure

    found, write = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (found.append(self), write(self, *args, **kw)))
    return found


def with_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_suffixes_decide(suffix, tmp_path):
    network = network_of(8, CITIES)
    plan = plan_of(network, 2, 3)
    drawn = {
        "plan": lambda path: plot_plan(plan, network, path),
        "compare": lambda path: plot_compare({"one": plan}, path),
        "simulation": lambda path: plot_simulation(simulate(network, plan), plan, path),
    }
    for name, draw in drawn.items():
        path = tmp_path / f"{name}.{suffix}"
        draw(path)
        first = path.read_bytes()
        draw(path)
        assert first.startswith(MAGIC[suffix.lower()])
        assert path.read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("regions", [(), CITIES, ("here", "there", "elsewhere")])
@pytest.mark.parametrize(("count", "stages", "replicas"), [(8, 2, 3), (64, 16, 4)])
def test_a_dot_for_each_device_in_the_colour_of_its_stage(regions, count, stages, replicas, kept, tmp_path):
    network = network_of(count, regions)
    plan = plan_of(network, stages, replicas)
    plot_plan(plan, network, tmp_path / "plan.png")
    (devices,), (lines,) = with_gid(kept[0], "devices"), with_gid(kept[0], "pipelines")
    assert len(devices.get_offsets()) == count
    assert len(lines.get_segments()) == (stages - 1) * replicas
    colours = {matplotlib.colors.to_rgb(colour) for colour in stage_colours(stages)}
    assert len(colours) == stages
    faces = [tuple(face[:3]) for face in devices.get_facecolors()]
    expected = [*stage_colours(stages), shared.REST]  # stage -1 is the last
    assert faces == [pytest.approx(matplotlib.colors.to_rgb(expected[stage])) for stage in plan.stage_of]
    texts = [text.get_text() for text in kept[0].findobj(matplotlib.text.Text)]
    assert set(regions) <= set(texts)
    assert cost_words(plan) in texts


@pytest.mark.parametrize("regions", [(), CITIES, tuple(f"site {i}" for i in range(30))])
@pytest.mark.parametrize("count", [8, 64, 300])
def test_dots_do_not_overlap_and_lie_inside(regions, count):
    network = network_of(count, regions)
    drawn = map_of(plan_of(network, 2, 4), network, 9.0, 5.0)
    apart = np.linalg.norm(drawn.dots[:, None] - drawn.dots[None], axis=-1) + 9 * np.eye(count)
    assert apart.min() >= 0.999 * drawn.diameter
    assert (drawn.dots >= drawn.diameter / 2).all()
    assert (drawn.dots <= np.array([9.0, 5.0]) - drawn.diameter / 2).all()


def test_near_is_near():
    network = Network(network_of(12).delay_s, np.full((12, 12), 1e12))
    drawn = map_of(plan_of(network, 3, 4), network, 9.0, 5.0)
    far = np.linalg.norm(drawn.dots[:, None] - drawn.dots[None], axis=-1)
    assert np.corrcoef(far.ravel(), network.delay_s.ravel())[0, 1] > 0.9
    assert not drawn.land


def test_places_that_are_all_alike_stand_in_rows():
    network = Network.from_regions(dict.fromkeys("abcdefgh", 4), between={"delay_ms": 5, "bandwidth_gbps": 1},
                                   inside={"delay_ms": 0, "bandwidth_gbps": 9})  # fmt: skip
    drawn = map_of(plan_of(network, 4, 8), network, 9.0, 5.0)
    heights = np.array([y for _, y, _ in drawn.labels])
    assert "rows" in drawn.words
    assert len(np.unique(heights.round(3))) == 2


def test_regions_are_found_by_city_and_by_cloud():
    assert where_is("Oregon") == where_is("us-west-2") == where_is(" US-WEST-2b ") == where_is("us-west1-c")
    assert where_is("Sao Paulo") == where_is("sa-east-1")
    longitude, latitude = where_is("sydney")
    assert (longitude, latitude < -33.9) == (151.2, True)
    assert where_is("nowhere") is where_is("") is where_is("45.8") is None


def test_the_map_is_cut_where_nobody_is():
    network = network_of(8, ("Tokyo", "Oregon", "London", "Virginia"))
    drawn = map_of(plan_of(network, 2, 4), network, 9.0, 5.0)
    order = sorted((x, name) for x, _, name in drawn.labels)
    assert [name for _, name in order] == ["Tokyo", "Oregon", "Virginia", "London"]  # over the Pacific
    assert drawn.land


@pytest.mark.parametrize("model", ["paper", "extended"])
def test_terms_add_up_to_the_total(model, kept, tmp_path):
    network = network_of(8)
    plan = plan_of(network, 2, 4, model)
    plot_compare({"this": plan, "that $x": plan}, tmp_path / "compare.svg")
    bars = [bar for bars in kept[0].axes[0].containers for bar in bars]
    widths = {}
    for bar in bars:
        row = round(bar.get_y() + bar.get_height() / 2)
        widths[row] = widths.get(row, 0) + bar.get_width()
    assert widths == {0: pytest.approx(plan.cost_s), 1: pytest.approx(plan.cost_s)}
    assert not with_gid(kept[0], "bound")
    assert "that $x" in [label.get_text() for label in kept[0].axes[0].get_yticklabels()]


def test_bounds_are_marked(kept, tmp_path):
    network = network_of(8)
    plan = plan_of(network, 2, 4)
    bounded = replace(plan, lower_bound_s=plan.cost_s / 4)
    plot_plan(bounded, network, tmp_path / "plan.png")
    plot_compare({"a": plan, "b": bounded}, tmp_path / "compare.png")
    for figure in kept:
        (line,) = with_gid(figure, "bound")
        assert line.get_xdata()[0] == pytest.approx(plan.cost_s / 4)
    assert "no plan saves more than 75 % of it" in cost_words(bounded)
    assert "no plan is better" in cost_words(replace(plan, lower_bound_s=plan.cost_s))
    endless = replace(plan, cost=replace(plan.cost, compute_s=float("inf")))
    assert "cannot run" in cost_words(endless)
    plot_plan(endless, network, tmp_path / "endless.png")
    plot_compare({"endless": endless}, tmp_path / "endless.png")


@pytest.mark.parametrize(("stages", "replicas", "shown"), [(2, 3, 3), (2, 8, 4), (12, 4, 2), (40, 1, 1)])
def test_a_gantt_chart_has_what_the_shown_devices_do(stages, replicas, shown, kept, tmp_path):
    network = network_of(stages * replicas)
    network = Network(network.delay_s, network.bandwidth_bits_per_s, flops_per_s=np.full(len(network), 1e12))
    plan = plan_of(network, stages, replicas, flops=1e12)
    played = simulate(network, plan)
    plot_simulation(played, plan, tmp_path / "step.png")
    devices = set(plan.mesh[:, :shown].ravel().tolist())
    for what in ("forward", "backward", "send", "reduce", "gather"):
        events = [event for event in played.events if event.what == what and event.device in devices]
        bars = [path for found in with_gid(kept[0], what) for path in found.get_paths()]
        assert len(bars) == len(events)
        assert sum(np.ptp(bar.vertices[:, 0]) for bar in bars) == pytest.approx(
            sum(e.end_s - e.begin_s for e in events)
        )
    words = " ".join(text.get_text() for text in kept[0].texts)
    assert ("the first" in words) == (shown < replicas)


def test_nothing_is_left_behind(tmp_path):
    from matplotlib import pyplot

    network = network_of(8, ("東京", "a$b$", "c"))
    plan = plan_of(network, 2, 4)
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_plan(plan, network, tmp_path / "plan.png")
        plot_compare({"東京": plan}, tmp_path / "compare.svg")
        plot_simulation(simulate(network, plan), plan, tmp_path / "step.pdf")
    assert dict(matplotlib.rcParams) == before
    assert (pyplot.get_fignums(), matplotlib.get_backend()) == ([], backend)


def test_what_cannot_be_drawn(tmp_path, monkeypatch):
    network = network_of(8)
    plan = plan_of(network, 2, 4)
    for path in ("plan.jpg", "plan", "plan.png.txt"):
        with pytest.raises(ConfigError, match=rf"{path}: expected a name that ends in \.png, \.svg or \.pdf\.$"):
            plot_plan(plan, network, tmp_path / path)
    with pytest.raises(DiskError, match="cannot be written"):
        plot_plan(plan, network, tmp_path / "absent" / "plan.png")
    with pytest.raises(ConfigError, match="the plan is for 8 devices, and it has 9"):
        plot_plan(plan, network_of(9), tmp_path / "plan.png")
    with pytest.raises(ConfigError, match="of 8 devices, and the plan has 9"):
        plot_simulation(simulate(network, plan), plan_of(network_of(9), 3, 3), tmp_path / "step.png")
    with pytest.raises(ConfigError, match="expected at least one"):
        plot_compare({}, tmp_path / "compare.png")
    real = builtins.__import__

    def without(name, *args, **kw):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"needs matplotlib: pip install 'fmcompress\[plots\]'\.$"):
        plot_plan(plan, network, tmp_path / "plan.png")
    assert not list(tmp_path.iterdir())
