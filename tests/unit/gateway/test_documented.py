"""docs/rest-api.md names every endpoint with its scope, docs/metrics.md every metric of the gateway."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
METRIC = re.compile(r'"(klipstream_gateway_[a-z_]+)"|metrics\.gauge\("([a-z_]+)"')
SOURCES = Path(__file__).resolve().parents[3] / "gateway" / "src" / "klipstream_gateway"


def test_the_table_of_endpoints_is_that_of_the_description() -> None:
    description = json.loads((DOCS / "openapi.json").read_text())
    described = {
        (method.upper(), path.removeprefix("/api/v1"), operation.get("x-scope") or "none")
        for path, operations in description["paths"].items() if path.startswith("/api/v1")
        for method, operation in operations.items() if isinstance(operation, dict)
    }  # fmt: skip
    rows = re.findall(
        r"^\| ([A-Z]+) \| `(/[^`]*)`: [^|]* \| `?([a-z]+)`? \|$", (DOCS / "rest-api.md").read_text(), re.M
    )
    assert set(rows) == described


def test_every_metric_is_documented() -> None:
    found = {
        whole or f"klipstream_gateway_{name}"
        for source in SOURCES.rglob("*.py")
        for whole, name in METRIC.findall(source.read_text())
    }
    documented = set(re.findall(r"^\| `(klipstream_gateway_[a-z_]+)`", (DOCS / "metrics.md").read_text(), re.M))
    assert documented == found
