"""Where devices are drawn: on a map where their regions are known, else so that near is near, nothing over another."""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..drawing import short
from .network import Network
from .plan import Plan

Points = NDArray[np.float64]  # [points, 2] inches, or degrees of longitude and of Mercator's latitude
LABELS = 48  # places that have room for their names
LETTER, LINE = 0.066, 0.17  # inches of a label's letter and line
LETTERS = 18  # letters of a name that are shown
ROOM = 0.3  # of the panel that dots take at most
LARGEST, READABLE, SMALLEST = 0.3, 0.18, 0.03  # inches of a dot
FARTHEST = 0.8  # inches that a place may be moved for the sake of dots larger than READABLE
STRETCH = 1.5  # of a picture that is no map, to fill the panel
FLAT = 0.4  # of the distances that two dimensions must show, or the picture would lie

# latitude, longitude and names of cities and cloud regions
REGIONS = """
45.8 -119.7 oregon us-west-2 us-west1 westus2; 38.9 -77.5 virginia us-east-1 us-east4 eastus; 40.1 -82.9 ohio us-east-2 us-east5
37.5 -121.9 california us-west-1 us-west2 westus; 41.3 -95.9 iowa us-central1 centralus; 32.8 -96.8 texas dallas us-south1
33.2 -80.0 carolina us-east1; 45.5 -73.6 montreal canada ca-central-1; 43.7 -79.4 toronto; 40.7 -74.0 new-york new_york
47.6 -122.3 seattle; 41.9 -87.6 chicago; 35.7 139.7 tokyo ap-northeast-1 asia-northeast1 japaneast; 34.7 135.5 osaka ap-northeast-3
37.6 127.0 seoul ap-northeast-2 asia-northeast3 koreacentral; 1.35 103.8 singapore ap-southeast-1 asia-southeast1 southeastasia
-33.9 151.2 sydney ap-southeast-2 australia-southeast1 australiaeast; -37.8 145.0 melbourne ap-southeast-4; 25.0 121.5 taiwan asia-east1
22.3 114.2 hong-kong hong_kong ap-east-1 asia-east2; 39.9 116.4 beijing; 31.2 121.5 shanghai; 19.1 72.9 mumbai ap-south-1 asia-south1
17.4 78.5 hyderabad ap-south-2; -6.2 106.8 jakarta ap-southeast-3; 51.5 -0.1 london eu-west-2 europe-west2 uksouth
50.1 8.7 frankfurt eu-central-1 europe-west3 germanywestcentral; 53.3 -6.3 ireland dublin eu-west-1 northeurope
48.9 2.4 paris eu-west-3 europe-west9 francecentral; 52.4 4.9 netherlands amsterdam europe-west4 westeurope; 50.5 3.9 belgium europe-west1
47.4 8.5 zurich eu-central-2 europe-west6 switzerlandnorth; 45.5 9.2 milan eu-south-1 europe-west8; 40.4 -3.7 madrid spain eu-south-2
59.3 18.1 stockholm sweden eu-north-1; 60.6 27.2 finland hamina europe-north1; 52.2 21.0 warsaw europe-central2; 32.1 34.8 tel-aviv
26.1 50.6 bahrain me-south-1; 25.2 55.3 dubai uae me-central-1; -33.9 18.4 cape-town af-south-1; -26.2 28.0 johannesburg
-23.5 -46.6 sao-paulo sao_paulo sa-east-1 southamerica-east1; -33.4 -70.7 santiago chile southamerica-west1
"""  # fmt: skip  # noqa: E501

# coasts, roughly: longitude and latitude in turn
LAND = """
-168 66 -157 71 -128 70 -115 68 -95 69 -85 68 -94 61 -92 57 -82 55 -80 51 -77 56 -78 62 -70 61 -65 59 -56 52 -65 49 -61 46 -70 43
 -74 40 -76 35 -81 31 -80 25 -83 29 -90 29 -97 27 -97 21 -91 18 -87 21 -88 16 -83 15 -83 10 -79 9 -83 8 -87 13 -95 16 -105 20 -113 31
 -110 23 -115 29 -118 34 -124 40 -124 48 -131 55 -140 60 -150 60 -158 56 -165 61
-79 9 -72 12 -62 10 -50 0 -35 -6 -39 -15 -48 -27 -58 -35 -63 -42 -69 -52 -74 -52 -73 -40 -71 -20 -76 -14 -81 -5 -78 1
-73 78 -55 70 -44 60 -22 70 -20 80 -60 82
-6 36 10 37 20 32 32 31 35 27 43 12 51 12 42 -1 40 -15 33 -26 26 -34 18 -34 12 -17 9 4 -7 5 -17 15 -10 30
-9 37 -9 43 -2 43 -1 46 -5 48 2 51 8 54 8 57 11 56 11 54 20 54 24 58 30 60 22 60 25 65 21 65 17 61 18 59 14 56 11 59 5 59 5 62 14 68
 25 71 41 67 34 64 44 66 54 68 68 69 72 72 104 77 113 73 140 72 160 70 180 69 190 66 178 62 163 60 162 56 156 51 156 58 142 59 135 54
 141 52 139 47 131 43 128 40 129 36 126 34 126 38 121 39 118 39 122 37 119 35 122 31 118 24 110 21 106 20 109 13 105 9 100 13 103 2
 98 9 94 17 90 22 80 15 77 8 73 18 68 24 57 26 50 30 48 29 52 24 59 23 55 17 44 13 35 28 36 36 27 37 26 40 41 41 37 46 31 46 28 42
 23 40 23 37 19 41 13 45 18 40 16 38 10 44 3 43 0 39 -2 37 -6 36
-5 50 1 51 2 53 -2 56 -3 59 -6 57 -3 54 -5 52
-10 52 -6 52 -6 55 -8 55
-24 65 -14 66 -14 65 -19 63
130 32 131 31 136 34 140 35 142 40 145 43 142 45 140 42 140 40 136 37 132 35
114 -22 122 -18 130 -12 136 -12 140 -17 142 -11 146 -19 153 -27 150 -37 144 -38 138 -35 132 -32 118 -35 115 -34
173 -35 178 -38 174 -41 170 -46 167 -46 172 -41
95 5 104 -2 106 -6 101 -2
105 -6 114 -7 114 -9 106 -7
109 1 117 7 119 1 115 -4 110 -3
131 -1 141 -3 150 -10 140 -8
120 18 122 18 126 7 122 8
44 -16 49 -12 50 -16 47 -25 44 -22
"""  # fmt: skip  # noqa: E501


@dataclass(frozen=True)
class Map:
    """What is drawn, in inches of a panel.

    dots      [devices, 2]
    diameter  of a dot
    labels    (x, y, name) below each place, where there is room
    land      coasts, each [points, 2]; none where places are not known
    pins      (where a place is, where its devices are drawn), if that can be seen
    words     what near and far mean
    """

    dots: Points
    diameter: float
    labels: list[tuple[float, float, str]]
    land: list[Points]
    pins: list[tuple[Points, Points]]
    words: str


def map_of(plan: Plan, network: Network, width: float, height: float) -> Map:
    """Where to draw the devices of a plan on so many inches."""
    keys = [region or f"\0{device}" for device, region in enumerate(network.regions)]
    places = list(dict.fromkeys(keys))
    members = [[device for device, key in enumerate(keys) if key == place] for place in places]
    names = [short(network.regions[group[0]] or network.names[group[0]], LETTERS) for group in members]
    degrees = [where_is(place) for place in places]
    land: list[Points] = []
    if all(point is not None for point in degrees):
        points, land, words = (
            *_unrolled(np.array(degrees)),
            "Regions stand where they are, pushed apart where devices would overlap; coasts are rough.",
        )
    else:
        points, words = _by_distance(plan, network, members)
    corner, scale = _fit(points, width, height, bool(land))
    exact = (points - points.min(0)) * scale + corner
    centres, diameter, sizes = _apart(exact, [len(group) for group in members], names, width, height)
    dots = np.empty((len(network), 2))
    for centre, group in zip(centres, members, strict=True):
        order = sorted(group, key=lambda device: (plan.stage_of[device], plan.replica_of[device]))
        offsets = _honeycomb(len(group))
        dots[order] = centre + diameter * 1.12 * offsets
    labelled = len(places) <= LABELS
    lowest = [float(dots[group, 1].min()) - diameter / 2 - 0.04 for group in members]
    labels = [(x, y, name) for (x, _), y, name in zip(centres, lowest, names, strict=True)]
    free = (np.hypot(*np.moveaxis(exact[:, None] - centres[None], -1, 0)) > sizes).all(1)
    pins = [(a, b) for a, b, seen in zip(exact, centres, free, strict=True) if seen and land]
    coasts = [(coast - points.min(0)) * scale + corner for coast in land]
    return Map(dots, diameter, labels if labelled else [], coasts, pins, words)


def where_is(region: str) -> tuple[float, float] | None:
    """Longitude and Mercator's latitude in degrees of a city or a cloud's region or zone; None where not known."""
    name = re.sub(r"-?(?<=[\d-])[a-f]$", "", region.strip().lower()).replace(" ", "-")
    for line in re.split(r"[;\n]", REGIONS):
        latitude, longitude, *names = line.split() or ["0", "0"]
        if name in names:
            return float(longitude), _mercator(float(latitude))
    return None


def _mercator(latitude: float) -> float:
    return math.degrees(math.asinh(math.tan(math.radians(min(80.0, latitude)))))


def _unrolled(points: Points) -> tuple[Points, list[Points]]:
    """Places and coasts on a map that begins in the middle of the widest gap between the places."""
    longitudes = np.sort(points[:, 0])
    gaps = np.diff([*longitudes, longitudes[0] + 360])
    begin = longitudes[gaps.argmax()] + gaps.max() / 2
    turned = np.column_stack([(points[:, 0] - begin) % 360, points[:, 1]])
    coasts = []
    for line in re.split(r"\n(?! )", LAND.strip()):
        coast = np.array(line.split(), dtype=np.float64).reshape(-1, 2)
        coast[:, 1] = [_mercator(latitude) for latitude in coast[:, 1]]
        coasts += [coast + np.array([turn * 360 - begin, 0]) for turn in range(-1, 3)]
    return turned, coasts


def _by_distance(plan: Plan, network: Network, members: list[list[int]]) -> tuple[Points, str]:
    """Classical multidimensional scaling of the seconds in which a replica's activations get from place to place."""
    work = plan.workload
    seconds = network.delay_s + 8 * work.activation_bytes / work.activation_compression / network.bandwidth_bits_per_s
    belongs = np.zeros((len(members), len(network)))
    for place, group in enumerate(members):
        belongs[place, group] = 1 / len(group)
    far = belongs @ (seconds + seconds.T) @ belongs.T
    np.fill_diagonal(far, 0.0)
    centre = np.eye(len(far)) - 1 / len(far)
    values, vectors = np.linalg.eigh(-centre @ far**2 @ centre / 2)
    kept = np.maximum(values[::-1][:2], 0.0)
    if len(members) > 3 and kept.sum() < FLAT * np.maximum(values, 0.0).sum():
        columns = math.ceil(math.sqrt(1.6 * len(members)))
        rows = [divmod(place, columns) for place in range(len(members))]
        return np.array(
            [[column, -row] for row, column in rows], dtype=np.float64
        ), "Places stand in rows: no two dimensions show which are near."
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), range(axes.shape[1])] < 0, -1, 1)
    points = np.zeros((len(far), 2))
    points[:, : axes.shape[1]] = axes * np.sqrt(kept)[: axes.shape[1]]
    return points, "Near is fast: places stand by delays and bandwidths (multidimensional scaling)."


def _fit(points: Points, width: float, height: float, true: bool) -> tuple[Points, Points]:
    """Where the lowest corner of points goes, and inches a unit each way, so that they fill the middle of a panel.

    true  a map, which is not stretched and shows 25 degrees at least
    """
    spans = np.ptp(points, axis=0)
    scales = np.array([0.84 * width, 0.8 * height]) / np.maximum(spans, 25.0 if true else 1e-9)
    scales = np.minimum(scales, (1.0 if true else STRETCH) * scales.min())
    return (np.array([width, height]) - spans * scales) / 2, scales


def _apart(
    points: Points, counts: list[int], names: list[str], width: float, height: float
) -> tuple[Points, float, Points]:
    """Places moved so that neither dots nor names overlap; the diameter of a dot; [places] their radii."""
    labelled = len(counts) <= LABELS
    diameter = min(LARGEST, math.sqrt(ROOM * width * height / sum(counts)))
    spread = np.array([np.hypot(*_honeycomb(count).T).max() for count in counts])
    while True:
        sizes = diameter * (1.12 * spread + 0.56)
        half = np.column_stack([sizes, sizes + (LINE / 2 if labelled else 0)])
        if labelled:
            half[:, 0] = np.maximum(half[:, 0], [len(name) * LETTER / 2 for name in names])
        down = np.array([0, LINE / 2 if labelled else 0])
        centres, settled = _pushed(points - down, half + 0.02, np.array([width, height]))
        shift = float(np.hypot(*(centres + down - points).T).max())
        if (settled and (shift <= FARTHEST or diameter <= READABLE)) or diameter < SMALLEST:
            return centres + down, diameter, sizes
        diameter *= 0.92


def _pushed(points: Points, half: Points, panel: Points, rounds: int = 12) -> tuple[Points, bool]:
    """Boxes pushed apart along the shorter way until none overlaps, and whether that came about."""
    turn = np.arange(len(points))
    boxes = points + 1e-4 * np.column_stack([np.cos(turn), np.sin(turn)])  # of two in one point, each goes its own way
    room = half[:, None] + half[None]
    for _ in range(rounds):
        near = (np.abs(boxes[:, None] - boxes[None]) < 1.5 * room).all(-1)
        a, b = np.nonzero(np.triu(near, 1))
        for _ in range(20):
            boxes = np.clip(boxes, half, panel - half)
            apart = boxes[a] - boxes[b]
            over = room[a, b] - np.abs(apart)
            meet = (over > 1e-3).all(-1, keepdims=True)
            if not meet.any():
                break
            push = np.where(meet & (over == over.min(-1, keepdims=True)), 0.3 * np.sign(apart) * over, 0.0)
            np.add.at(boxes, a, push)
            np.add.at(boxes, b, -push)
        apart = np.abs(boxes[:, None] - boxes[None])
        if (np.triu((room - apart > 2e-3).all(-1), 1)).sum() == 0:
            return boxes, True
    return boxes, False


def _honeycomb(count: int) -> Points:
    """[count, 2] points at distance 1 from their neighbours, in a disc, column by column."""
    reach = math.ceil(math.sqrt(count)) + 1
    lattice = [
        (row % 2 / 2 + column, row * math.sqrt(0.75))
        for row in range(-reach, reach + 1)
        for column in range(-reach, reach + 1)
    ]
    middle = 0.5 if count in (2, 4, 8, 14) else 0.0  # between two points, where that makes a rounder disc
    disc = sorted(lattice, key=lambda point: (round(math.hypot(point[0] - middle, point[1]), 6), point))[:count]
    found = np.array(sorted(disc))
    return found - found.mean(0)
