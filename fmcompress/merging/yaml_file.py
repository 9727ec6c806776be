"""A YAML file as a plain dict, parsed strictly: no cycles, no alias that grows without end, no key twice."""

from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, in_one_line

MAX_BYTES, MAX_NODES = 1 << 20, 20_000


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Nothing in it is executed. Raises ConfigError in one line."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes of YAML. Give the file of a recipe.")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            _Walk(path).check(node)
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except RecursionError:
        raise ConfigError(f"{path}: cannot be read as YAML (nested too deeply).") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({in_one_line(error)}).") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{path}: expected keys and values such as 'merge_method: linear'.")
    return value


class _Walk:
    """Every node as often as it would be seen by whoever walks the value."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, 0
        self.above: set[int] = set()

    def check(self, node: yaml.Node | None) -> None:
        """Raise ConfigError for a node that contains itself, too many of them, or a key that stands twice."""
        self.seen += 1
        if self.seen > MAX_NODES:
            raise ConfigError(f"{self.path}: expected at most {MAX_NODES} values, aliases written out, got more.")
        if not isinstance(node, yaml.CollectionNode):
            return
        if id(node) in self.above:
            line = node.start_mark.line + 1
            raise ConfigError(f"{self.path}: the anchor of line {line} contains itself. Write its values out.")
        self.above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        for child in node.value:
            for each in child if isinstance(child, tuple) else (child,):
                self.check(each)
        self.above.remove(id(node))

    def _check_keys(self, node: yaml.MappingNode) -> None:
        keys = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"{self.path}: {key.value!r} stands twice, again in line {line}. Keep one.")
                keys.add(key.value)
