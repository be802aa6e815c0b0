"""The chart's README, from the comments in values.yaml: those above a key, and the one behind it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

HEAD = """\
# klipstream

<!-- Generated from values.yaml by `make charts`; changes belong there. -->

A queue of long video analyses on Kubernetes: operator, relay of webhooks, REST gateway, and a default queue. How to
install, size, upgrade and watch it stands in [docs/operations.md](../../docs/operations.md), its alerts in
[docs/alerts.md](../../docs/alerts.md), its rights in [docs/rbac.md](../../docs/rbac.md).

```bash
helm install klipstream charts/klipstream --namespace klipstream --create-namespace
```

A value that the chart does not know is refused by its name. `helm test` submits a small job and looks whether it comes
to its end. An uninstall leaves the AnalysisJobs, the default queue, the custom resources and the claim of the results.

## Values
"""


@dataclass(frozen=True, slots=True)
class Value:
    """A key of values.yaml; `default` is None for one that has others below it."""

    path: tuple[str, ...]
    default: str | None
    description: str


def values_of(text: str) -> list[Value]:
    """All keys in order, with what the comments say of them."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_walk(root, (), text.splitlines()))


def _walk(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, str(key.value))
        about = _description(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield Value(here, None, about)
            yield from _walk(value, here, lines)
        else:
            yield Value(here, _shown(yaml.SafeLoader("").construct_document(value)), about)


def _description(lines: list[str], number: int) -> str:
    """The comment behind the key, and the lines above it as far as they are comments of the same depth."""
    line = lines[number]
    indent = len(line) - len(line.lstrip())
    above: list[str] = []
    for other in reversed(lines[:number]):
        comment = re.fullmatch(rf" {{{indent}}}# ?(.*)", other)
        if comment is None:
            break
        above.insert(0, comment.group(1).strip())
    behind = re.search(r"\s# (.+)$", line)
    return " ".join([*above, *([behind.group(1).strip()] if behind else [])])


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def readme(text: str) -> str:
    """The whole file, from the text of values.yaml."""
    parts = [HEAD]
    table_open = False
    for value in values_of(text):
        if len(value.path) == 1:
            parts.append(f"\n### {value.path[0]}\n")
            table_open = False
            if value.default is None:
                parts.append(f"\n{value.description}\n")
                continue
        if not table_open:
            parts.append("\n| value | default | |\n|---|---|---|\n")
            table_open = True
        default = f"`{value.default}`" if value.default is not None else ""
        description = value.description.replace("|", "\\|")
        parts.append(f"| `{'.'.join(value.path)}` | {default} | {description} |\n")
    return "".join(parts)
