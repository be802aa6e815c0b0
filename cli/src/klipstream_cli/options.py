"""Types of options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from klipstream_cli.errors import Exit, Problem
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


def span_value(value: Any) -> float:
    """Seconds of an option. Raises BadParameter."""
    if isinstance(value, int | float):
        return float(value)
    try:
        return parse_span(str(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def no_names(output: Output, command: str) -> None:
    """Problem for -o name where the answer is no list of objects."""
    if output is Output.NAME:
        raise Problem(f"{command} answers with -o table, wide, json or yaml", Exit.USAGE)


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
    float, typer.Option("--timeout", parser=span_value, metavar="SPAN", help="How long to wait: 30s, 10m, 2h.")
]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
JobName = Annotated[str, typer.Argument(metavar="NAME", help="AnalysisJob.")]
