"""YAML as plain values: nothing is executed, and a key that stands twice is refused (only the last would count)."""

from __future__ import annotations

from typing import Any

import yaml

from neurodeploy.errors import UsageError

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As PyYAML's; raises ComposerError where a key stands twice, before merges (`<<`) bring keys of elsewhere."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            written = (key.tag, str(key.value))
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode) and written in seen:
                raise yaml.composer.ComposerError(
                    problem=f"{key.value!r} stands twice in one section; keep one of them", problem_mark=key.start_mark
                )
            seen.add(written)
        return node


def parse_yaml(text: str, where: str) -> Any:
    """Plain values; raises UsageError that begins with `where`."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from error
