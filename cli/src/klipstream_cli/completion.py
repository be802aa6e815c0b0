"""Shell completion through kubectl: it runs `kubectl_complete-analysis WORDS...` and reads lines and a directive.

The protocol is Cobra's (https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective): a candidate per line, then
":4" (no file names) or ":0" (file names as well). It must be quick and silent, so everything together, the
kubeconfig's plugin and the API server, has two seconds.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from klipstream_cli.app import GROUPS, JOB_COMMANDS, group
from klipstream_cli.errors import Problem
from klipstream_cli.kubeconfig import context_names, load_access
from klipstream_cli.resources import ANALYSIS_JOBS, ANALYSIS_QUEUES, FINISHED, NAMESPACES, PRIORITIES, Resource

SECONDS = 2.0
SHOWN_AT_MOST = 500
FILES, NO_FILES = 0, 4
FAILED_ONLY, UNFINISHED = "status.phase=Failed", ",".join(f"status.phase!={phase}" for phase in FINISHED)
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
        return _names(words, ANALYSIS_QUEUES), NO_FILES
    if previous in ("-n", "--namespace"):
        return _names(words, NAMESPACES), NO_FILES
    if previous == "--context":
        return _contexts(before), NO_FILES
    if previous.startswith("-") and _takes_value(path, previous):
        return [], NO_FILES
    if incomplete.startswith("-"):
        return _flags(path), NO_FILES
    if path in ("", "queue", "dlq"):
        commands = JOB_COMMANDS if not path else GROUPS[path]
        return [f"{name}\t{about}" for name, about in commands.items()], NO_FILES
    if path == "lint":
        return [], FILES
    if path in JOBS_OF:
        extra = list(PRIORITIES) if path == "prioritize" else []
        return _names(words, ANALYSIS_JOBS, JOBS_OF[path]) + extra, NO_FILES
    if path.startswith("queue "):
        return _names(words, ANALYSIS_QUEUES), NO_FILES
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


def _params(path: str) -> list[Any]:
    command: Any = group("")
    for part in path.split():
        command = command.get_command(None, part)
    return list(command.params)


def _takes_value(path: str, option: str) -> bool:
    return any(option in getattr(param, "opts", ()) and not getattr(param, "is_flag", True) for param in _params(path))


def _flags(path: str) -> list[str]:
    found = [option for param in _params(path) for option in getattr(param, "opts", ()) if option.startswith("--")]
    return [*found, "--help"]


def _value(words: Sequence[str], *flags: str) -> str | None:
    """What an option was given, such as --context here or --context=here."""
    for index, word in enumerate(words):
        name, equals, inline = word.partition("=")
        if name in flags:
            return inline if equals else words[index + 1] if index + 1 < len(words) else None
    return None


def _contexts(words: Sequence[str]) -> list[str]:
    try:
        return context_names(_value(words, "--kubeconfig"))
    except Problem:
        return []


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError after so many seconds, wherever it waits then."""

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _names(words: Sequence[str], resource: Resource, fields: str | None = None) -> list[str]:
    """Names that begin like the last word, in the namespace that the words mean; those that were told in time."""
    from klipstream_cli.api import Api

    *before, incomplete = words
    found: list[str] = []
    try:
        with _time_limit(SECONDS):
            access = load_access(_value(before, "--kubeconfig"), _value(before, "--context"))
            api = Api(access, SECONDS)
            api.credentials.may_ask = False
            named = _value(before, "-n", "--namespace") or access.namespace
            namespace = None if resource is NAMESPACES else named
            for page in api.pages(resource, namespace, field_selector=fields):
                names = (str(item["metadata"]["name"]) for item in page.get("items") or [])
                found += [name for name in names if name.startswith(incomplete)]
                if len(found) >= SHOWN_AT_MOST:
                    break
    except (Problem, TimeoutError):
        pass
    return found[:SHOWN_AT_MOST]


def run() -> None:
    """Entry point of kubectl_complete-analysis."""
    words = sys.argv[1:]
    found, directive = candidates(words)
    incomplete = words[-1] if words else ""
    for candidate in found:
        if candidate.startswith(incomplete):
            print(candidate)
    print(f":{directive}")
