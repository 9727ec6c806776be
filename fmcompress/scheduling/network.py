"""A network of devices: the delay and bandwidth of every link, and what each device is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError

Matrix = NDArray[np.float64]
MOST_DEVICES = 4096  # matrices of theirs are some hundred megabytes


@dataclass(frozen=True, eq=False)
class Network:
    """Devices and the links between them, which may differ by direction. Compares by its numbers.

    delay_s                [devices, devices] seconds that a bit takes from row to column; the diagonal is not read
    bandwidth_bits_per_s   [devices, devices] bits a second from row to column; the diagonal is not read
    names                  of the devices; their numbers by default
    regions                where each stands, for maps and tables; empty where nobody said
    flops_per_s            [devices] operations that a device does in a second, for the extended cost; None: not known
    memory_bytes           [devices] that a device has for a stage; None: not limited

    Raises ConfigError for matrices that are not square, not of one size, not finite, negative, or without a link.
    """

    delay_s: Matrix
    bandwidth_bits_per_s: Matrix
    names: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    flops_per_s: Matrix | None = None
    memory_bytes: Matrix | None = None

    def __post_init__(self) -> None:
        delay = _square("delay_s", self.delay_s)
        bandwidth = _square("bandwidth_bits_per_s", self.bandwidth_bits_per_s)
        if delay.shape != bandwidth.shape:
            raise ConfigError(
                f"bandwidth_bits_per_s: expected {list(delay.shape)} like delay_s, got {list(bandwidth.shape)}."
            )
        np.fill_diagonal(delay, 0.0)
        np.fill_diagonal(bandwidth, np.inf)
        object.__setattr__(self, "delay_s", delay)
        object.__setattr__(self, "bandwidth_bits_per_s", bandwidth)
        object.__setattr__(self, "names", _texts("names", self.names or range(len(delay)), len(delay)))
        object.__setattr__(self, "regions", _texts("regions", self.regions or [""] * len(delay), len(delay)))
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ConfigError(f"names: {twice!r} stands for two devices. Give each a name of its own.")
        for name in ("flops_per_s", "memory_bytes"):
            object.__setattr__(self, name, _column(name, getattr(self, name), len(delay)))
        self._check_links()
        for array in (self.delay_s, self.bandwidth_bits_per_s, self.flops_per_s, self.memory_bytes):
            if array is not None:
                array.flags.writeable = False

    def _check_links(self) -> None:
        off = ~np.eye(len(self), dtype=bool)
        for wrong, matrix, what in (
            (~np.isfinite(self.delay_s) | (self.delay_s < 0), self.delay_s, "a delay of at least 0 seconds"),
            (np.isnan(self.bandwidth_bits_per_s) | (self.bandwidth_bits_per_s < 0), self.bandwidth_bits_per_s,
             "a bandwidth above 0 bits a second"),
        ):  # fmt: skip
            if (wrong & off).any():
                a, b = np.argwhere(wrong & off)[0]
                raise ConfigError(f"{self.names[a]} to {self.names[b]}: expected {what}, got {matrix[a, b]:g}.")
        if ((self.bandwidth_bits_per_s == 0) & off).any():
            a, b = np.argwhere((self.bandwidth_bits_per_s == 0) & off)[0]
            raise ConfigError(
                f"{self.names[a]} to {self.names[b]}: no link (bandwidth 0). Every device must reach every other: give "
                "the bandwidth of the way around, or leave one of the two out."
            )

    def __len__(self) -> int:
        return len(self.delay_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.names, self.delay_s.tobytes(), self.bandwidth_bits_per_s.tobytes()))

    def number(self, name: str) -> int:
        """Which device has that name, or is that number. Raises ConfigError."""
        if name in self.names:
            return self.names.index(name)
        if name.isascii() and name.isdigit() and int(name) < len(self):
            return int(name)
        raise ConfigError(f"{name}: no such device. There are {', '.join(self.names[:8])}{', …' * (len(self) > 8)}.")

    def take(self, devices: Sequence[int]) -> "Network":
        """The network of some of the devices, in that order: a part of it, or all of it in another order."""
        at = np.asarray(devices, dtype=np.int64)
        pairs = np.ix_(at, at)
        return replace(
            self,
            delay_s=self.delay_s[pairs],
            bandwidth_bits_per_s=self.bandwidth_bits_per_s[pairs],
            names=tuple(self.names[i] for i in at),
            regions=tuple(self.regions[i] for i in at),
            flops_per_s=None if self.flops_per_s is None else self.flops_per_s[at],
            memory_bytes=None if self.memory_bytes is None else self.memory_bytes[at],
        )

    @classmethod
    def from_regions(
        cls,
        devices: Mapping[str, int],
        links: Sequence[Mapping[str, Any]] = (),
        *,
        inside: Mapping[str, float] | None = None,
        between: Mapping[str, float] | None = None,
    ) -> "Network":
        """Devices in places that stand for the links: alike within a place, and from one place to another.

        devices  how many stand in each place
        links    {"a", "b", "delay_ms", "bandwidth_gbps"} for pairs of places, both ways; other places are passed over
        inside   {"delay_ms", "bandwidth_gbps"} between devices of one place
        between  the same for pairs of places that links leaves out; None: links must have them all

        Raises ConfigError for a pair of places without a link, or for what a link lacks.
        """
        places, counts = list(devices), [_count(place, count) for place, count in devices.items()]
        if sum(counts) > MOST_DEVICES:
            raise ConfigError(f"devices: expected at most {MOST_DEVICES} in all, got {sum(counts)}.")
        number = {place: i for i, place in enumerate(places)}
        delay = np.full((len(places),) * 2, np.nan if between is None else float(_of(between, "delay_ms", "between")))
        speed = np.full_like(delay, np.nan if between is None else _of(between, "bandwidth_gbps", "between"))
        for link in links:
            a, b = number.get(str(_of(link, "a", "links"))), number.get(str(_of(link, "b", "links")))
            if a is not None and b is not None:
                delay[a, b] = delay[b, a] = _of(link, "delay_ms", f"link {link['a']} to {link['b']}")
                speed[a, b] = speed[b, a] = _of(link, "bandwidth_gbps", f"link {link['a']} to {link['b']}")
        if inside is not None:
            np.fill_diagonal(delay, _of(inside, "delay_ms", "inside"))
            np.fill_diagonal(speed, _of(inside, "bandwidth_gbps", "inside"))
        at = np.repeat(np.arange(len(places)), counts)
        for a, b in np.argwhere(np.isnan(delay) | np.isnan(speed)):
            if a != b or counts[a] > 1:
                where = f"{places[a]} to {places[b]}" if a != b else f"inside {places[a]}"
                raise ConfigError(f"{where}: no link is given. Add one to links, or inside and between for the others.")
        names = tuple(f"{place}-{i}" for place, count in zip(places, counts, strict=True) for i in range(count))
        return cls(
            np.nan_to_num(delay, posinf=np.inf)[np.ix_(at, at)] / 1e3,
            np.nan_to_num(speed, posinf=np.inf)[np.ix_(at, at)] * 1e9,
            names,
            tuple(places[i] for i in at),
        )

    def as_dict(self) -> dict[str, Any]:
        """What read_network reads back, exactly; the diagonals are 0."""
        speed = self.bandwidth_bits_per_s.copy()
        np.fill_diagonal(speed, 0.0)
        facts: dict[str, Any] = {
            "names": list(self.names),
            "regions": list(self.regions),
            "delay_s": self.delay_s.tolist(),
            "bandwidth_bits_per_s": speed.tolist(),
        }
        for name in ("flops_per_s", "memory_bytes"):
            if getattr(self, name) is not None:
                facts[name] = getattr(self, name).tolist()
        return facts


def _square(name: str, value: ArrayLike) -> Matrix:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: expected a square matrix of numbers, got rows of unequal length or text.") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConfigError(f"{name}: expected a square matrix, [devices, devices], got shape {list(matrix.shape)}.")
    if len(matrix) < 1:
        raise ConfigError(f"{name}: expected at least one device, got none.")
    return matrix


def _column(name: str, value: ArrayLike | None, devices: int) -> Matrix | None:
    if value is None:
        return None
    try:
        column = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: expected a number for each of {devices} devices.") from None
    column = np.full(devices, float(column)) if column.ndim == 0 else column
    if column.shape != (devices,) or not (column > 0).all():
        raise ConfigError(f"{name}: expected a number above 0 for each of {devices} devices, got {column.tolist()}.")
    return column


def _texts(name: str, values: Any, devices: int) -> tuple[str, ...]:
    texts = tuple(map(str, values))
    if len(texts) != devices:
        raise ConfigError(f"{name}: expected one for each of {devices} devices, got {len(texts)}.")
    return texts


def _count(place: str, count: Any) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigError(f"{place}: expected a number of devices of at least 1, got {count!r}.")
    return count


def _of(facts: Any, key: str, where: str) -> Any:
    if not isinstance(facts, Mapping) or key not in facts:
        raise ConfigError(f"{where}: expected {key} in it.")
    value = facts[key]
    if key not in ("a", "b") and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise ConfigError(f"{where}: {key}: expected a number, got {value!r}.")
    return value
