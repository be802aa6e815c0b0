"""Shell completion through kubectl: it runs `kubectl_complete-analysis WORDS...` and reads lines and a directive.

The protocol is Cobra's (https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective): a candidate per line, then
":4" (no file names) or ":0" (file names as well). It must be quick and silent, so an API server has two seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from klipstream_cli.app import GROUPS, JOB_COMMANDS, group
from klipstream_cli.errors import Problem
from klipstream_cli.kubeconfig import load_access
from klipstream_cli.resources import ANALYSIS_JOBS, ANALYSIS_QUEUES, PRIORITIES, Resource

SECONDS = 2.0
ATMOST = 500
FILES, NO_FILES = 0, 4
FAILED_ONLY, UNFINISHED = "status.phase=Failed", "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Cancelled"
JOBS_OF = {
    "status": None, "why": UNFINISHED, "watch": None, "logs": None, "cancel": UNFINISHED, "retry": FAILED_ONLY,
    "prioritize": UNFINISHED, "dlq show": FAILED_ONLY, "dlq replay": FAILED_ONLY,
}  # fmt: skip
VALUES = {
    "-o": ("table", "wide", "json", "yaml", "name"),
    "--output": ("table", "wide", "json", "yaml", "name"),
    "-p": tuple(PRIORITIES),
    "--priority": tuple(PRIORITIES),
    "--to": tuple(PRIORITIES),
    "--phase": ("Queued", "BackingOff", "Starting", "Running", "Succeeded", "Failed", "Cancelled", "Rejected"),
    "--sort-by": ("age", "name", "start", "phase"),
}
WITH_FILES = ("-f", "--file", "--kubeconfig", "--html")


def candidates(words: Sequence[str]) -> tuple[list[str], int]:
    """What may stand in place of the last word, and the directive."""
    *before, incomplete = words or [""]
    path = _path(before)
    previous = before[-1] if before else ""
    if previous in VALUES:
        return list(VALUES[previous]), NO_FILES
    if previous in WITH_FILES and not (previous == "-f" and path != "submit"):
        return [], FILES
    if previous in ("-q", "--queue"):
        return _names(before, ANALYSIS_QUEUES, None), NO_FILES
    if incomplete.startswith("-"):
        return _flags(path), NO_FILES
    if path in ("", "queue", "dlq"):
        commands = JOB_COMMANDS if not path else GROUPS[path]
        return [f"{name}\t{about}" for name, about in commands.items()], NO_FILES
    if path == "lint":
        return [], FILES
    if path in JOBS_OF:
        extra = list(PRIORITIES) if path == "prioritize" else []
        return _names(before, ANALYSIS_JOBS, JOBS_OF[path]) + extra, NO_FILES
    if path.startswith("queue "):
        return _names(before, ANALYSIS_QUEUES, None), NO_FILES
    return [], NO_FILES


def _path(words: Sequence[str]) -> str:
    """The command that the words have come to, such as "queue pause"."""
    plain = [word for word in words if not word.startswith("-")]
    first = next((word for word in plain if word in JOB_COMMANDS), "")
    if first not in GROUPS:
        return first
    rest = plain[plain.index(first) + 1 :]
    second = next((word for word in rest if word in GROUPS[first]), "")
    return f"{first} {second}".strip()


def _flags(path: str) -> list[str]:
    command = group("")
    for part in path.split():
        command = command.get_command(None, part)
    found = []
    for param in command.params:
        found += [option for option in getattr(param, "opts", ()) if option.startswith("--")]
    return [*found, "--help"]


def _names(words: Sequence[str], resource: Resource, fields: str | None) -> list[str]:
    """Names in the namespace that the words mean; none where the server does not answer in time."""
    from klipstream_cli.api import Api

    def value(*flags: str) -> str | None:
        for index, word in enumerate(words):
            name, equals, inline = word.partition("=")
            if name in flags:
                return inline if equals else words[index + 1] if index + 1 < len(words) else None
        return None

    try:
        access = load_access(value("--kubeconfig"), value("--context"))
        api = Api(access, SECONDS)
        namespace = value("-n", "--namespace") or access.namespace
        page = next(api.pages(resource, namespace, field_selector=fields, page=ATMOST))
        return [str(item["metadata"]["name"]) for item in page.get("items") or []]
    except Problem:
        return []


def run() -> None:
    """Entry point of kubectl_complete-analysis."""
    words = sys.argv[1:]
    found, directive = candidates(words)
    incomplete = words[-1] if words else ""
    for candidate in found:
        if candidate.startswith(incomplete):
            print(candidate)
    print(f":{directive}")
