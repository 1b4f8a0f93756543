"""YAML as plain values: nothing is executed, and a key that stands twice is refused (only the last would count)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from neurodeploy.errors import UsageError

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """As PyYAML's; raises ConstructorError where a key stands twice."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key!r} stands twice in one section; keep one of them",
                        problem_mark=key_node.start_mark,
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """Plain values; raises UsageError that begins with `where`."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from error
