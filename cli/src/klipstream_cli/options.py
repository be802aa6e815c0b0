"""Types of options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from klipstream_cli.times import parse_span


class Output(StrEnum):
    """How objects are written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"

    @property
    def is_document(self) -> bool:
        """Whether the answer is for programs."""
        return self in (Output.JSON, Output.YAML, Output.NAME)


class Level(StrEnum):
    """The four priorities."""

    URGENT = "URGENT"
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


def _span(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    try:
        return parse_span(str(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="table, wide, json, yaml or name.")]
SelectorOption = Annotated[str | None, typer.Option("-l", "--selector", help="Label selector, such as team=a.")]
FieldSelectorOption = Annotated[
    str | None,
    typer.Option(
        "--field-selector",
        help="Such as status.phase=Failed; also status.queueName, spec.priority, spec.videoId, metadata.name.",
    ),
]
NoHeadersOption = Annotated[bool, typer.Option("--no-headers", help="Rows alone.")]
PriorityOption = Annotated[
    Level | None, typer.Option("-p", "--priority", case_sensitive=False, help="URGENT, HIGH, NORMAL or LOW.")
]
QueueOption = Annotated[str | None, typer.Option("-q", "--queue", help="Name of the queue.")]
WaitOption = Annotated[
    float, typer.Option("--timeout", parser=_span, metavar="SPAN", help="How long to wait: 30s, 10m, 2h.")
]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
Span = Annotated[float, typer.Option(parser=_span)]
JobNames = Annotated[list[str], typer.Argument(metavar="NAME...", help="AnalysisJobs.")]
JobName = Annotated[str, typer.Argument(metavar="NAME", help="AnalysisJob.")]
span_value = _span
