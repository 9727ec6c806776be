"""Networks and workloads in YAML or JSON files, and plans written whole or not at all."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, in_one_line
from .model import workload_of_model
from .network import Network
from .plan import Plan, read_plan
from .workload import Workload

LINK = ("a", "b", "delay_ms", "bandwidth_gbps")
PLACES = ("devices", "inside", "between", "links", "flops_per_s", "memory_gb")
MATRICES = (
    "delay_s", "delay_ms", "bandwidth_bits_per_s", "bandwidth_gbps", "names", "regions", "flops_per_s", "memory_bytes",
)  # fmt: skip
OF_MODEL = (
    "model", "stages", "replicas", "sequence_length", "sequences", "micro_batches", "activation_dtype",
    "gradient_dtype", "optimizer_bytes_per_parameter", "attention", "gradient_compression", "activation_compression",
)  # fmt: skip


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads 5e13 as a number, as JSON and YAML 1.2 do."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_network(path: str | Path) -> Network:
    """The network of a file: of places and the links between them, or of matrices. See docs/scheduling.md.

    Raises ConfigError, in one line that names the file.
    """
    facts = _read(path)
    with _named(path):
        if "devices" in facts:
            _known(facts, PLACES)
            return _of_places(facts, Path(path))
        _known(facts, MATRICES, PLACES)
        return _of_matrices(facts)


def read_workload(path: str | Path) -> Workload:
    """The workload of a file: its fields, or a model and how it is trained. See docs/scheduling.md.

    Raises ConfigError, in one line that names the file, and CheckpointError for a model that cannot be read.
    """
    facts = _read(path)
    with _named(path):
        if "model" in facts:
            _known(facts, OF_MODEL)
            _needed(facts, ("stages", "replicas", "sequence_length", "sequences"))
            folder = Path(path).parent / str(facts.pop("model"))
            return workload_of_model(folder, **facts)
        _known(facts, Workload.fields())
        _needed(facts, ("stages", "replicas", "activation_bytes", "gradient_bytes"))
        return Workload(**facts)


def read_plan_for(network: Network, path: str | Path) -> Plan:
    """The plan in a file. Raises ConfigError, also for a plan of other devices than the network's."""
    plan = read_plan(path)
    if plan.names != network.names:
        raise ConfigError(
            f"{path}: is a plan for other devices: {len(plan.names)}, {plan.names[0]} to {plan.names[-1]}; the network "
            f"has {len(network)}, {network.names[0]} to {network.names[-1]}. Give the network that was planned for."
        )
    return plan


def _of_places(facts: Mapping[str, Any], path: Path) -> Network:
    devices, links = facts["devices"], facts.get("links", [])
    if not isinstance(devices, Mapping) or not devices:
        raise ConfigError("devices: expected how many stand in each place, such as {Oregon: 8, Tokyo: 8}.")
    if isinstance(links, str):
        links = _read(path.parent / links).get("links")
    elif "between" in facts and isinstance(links, list):  # which would stand in for a link whose place is misspelt
        for place in (
            str(link[end]) for link in links if isinstance(link, Mapping) for end in link.keys() & {"a", "b"}
        ):
            _known([place], map(str, devices))
    if not isinstance(links, list):
        raise ConfigError("links: expected a list of {a, b, delay_ms, bandwidth_gbps}, or a file that holds one.")
    for part in (facts.get("inside"), facts.get("between")):
        _known(part if isinstance(part, Mapping) else (), LINK[2:])
    network = Network.from_regions(
        {str(place): count for place, count in devices.items()},
        links,
        inside=facts.get("inside"),
        between=facts.get("between"),
    )
    return Network(
        network.delay_s,
        network.bandwidth_bits_per_s,
        network.names,
        network.regions,
        _by_place("flops_per_s", facts.get("flops_per_s"), network, 1.0),
        _by_place("memory_gb", facts.get("memory_gb"), network, 1e9),
    )


def _by_place(name: str, value: Any, network: Network, unit: float) -> Any:
    """One number for each device, of one for all or one for each place."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        places = {str(place): number for place, number in value.items()}
        missing = next((region for region in network.regions if region not in places), None)
        if missing is not None:
            raise ConfigError(f"{name}: expected a number for each place, and {missing} has none.")
        numbers = [places[region] for region in network.regions]
    else:
        numbers = [value] * len(network)
    wrong = next((number for number in numbers if not isinstance(number, int | float) or number is True), None)
    if wrong is not None:
        raise ConfigError(f"{name}: expected a number, or one for each place, got {wrong!r}.")
    return [number * unit for number in numbers]


def _of_matrices(facts: dict[str, Any]) -> Network:
    tables: dict[str, Any] = {}
    for name, other, unit in (("delay_s", "delay_ms", 1e-3), ("bandwidth_bits_per_s", "bandwidth_gbps", 1e9)):
        if (name in facts) == (other in facts):
            raise ConfigError(f"expected devices, or a matrix {name} or {other}: one of the two.")
        tables[name] = facts.pop(name) if name in facts else _scaled(other, facts.pop(other), unit)
    for key in ("names", "regions"):
        if not isinstance(facts.get(key, []), list):
            raise ConfigError(f"{key}: expected a list, one for each device, got {facts[key]!r}.")
    return Network(**tables, **facts)


def _scaled(name: str, rows: Any, unit: float) -> list[list[float]]:
    try:
        return [[float(number) * unit for number in row] for row in rows]
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: expected a square matrix of numbers.") from None


def _read(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        facts = json.loads(text) if str(path).endswith(".json") else yaml.load(text, _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read ({in_one_line(told)}).") from None
    if not isinstance(facts, dict) or not all(isinstance(key, str) for key in facts):
        raise ConfigError(f"{path}: expected names and their values, such as in examples/schedule.")
    return facts


class _named:
    """Errors of what was read say in which file it stands."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ConfigError) and not str(error).startswith(str(self.path)):
            raise ConfigError(f"{self.path}: {error}") from None
        if isinstance(error, TypeError):
            raise ConfigError(f"{self.path}: expected numbers: {in_one_line(error)}") from None


def _known(facts: Iterable[Any], names: Iterable[str], elsewhere: Iterable[str] = ()) -> None:
    """ConfigError for one that is not among the names, with the nearest of them, or of those that files may have."""
    names = list(names)
    for name in map(str, facts):
        if name not in names:
            near = difflib.get_close_matches(name, [*names, *elsewhere], 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(names)}."
            raise ConfigError(f"{name}: unknown. {hint}")


def _needed(facts: Mapping[str, Any], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in facts]
    if missing:
        raise ConfigError(f"{missing[0]}: missing.")
