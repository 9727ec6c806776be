"""Where something lies in an image and how large it is, in words."""

from .clues import Box

COLUMNS = ("left", "centre", "right")
ROWS = ("upper", "middle", "lower")
POSITIONS = tuple("centre" if (r, c) == ("middle", "centre") else f"{r} {c}" for r in ROWS for c in COLUMNS)
SIZES = ("small", "medium", "large")
SMALL, LARGE = 1 / 25, 1 / 4  # shares of the area: a fifth and a half of each side


def position_of(box: Box) -> str:
    """One of POSITIONS: the ninth of the image that holds the box's centre; on a border it is the one in the middle.

    box  left, top, right, bottom as shares of the image
    """
    left, top, right, bottom = box
    return POSITIONS[3 * _third(top, bottom) + _third(left, right)]


def size_of(box: Box) -> str:
    """One of SIZES: small below 1/25 of the image's area, large from 1/4 on. Where the borders lie is our choice."""
    area = area_of(box)
    return SIZES[(area >= SMALL) + (area >= LARGE)]


def area_of(box: Box) -> float:
    """Of the image, as a share."""
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _third(low: float, high: float) -> int:
    """0, 1 or 2; the centre's double is compared, as a third has no exact float."""
    both = 3 * (low + high)
    return 0 if both < 2 else 2 if both > 4 else 1
