"""The commands and the options that all have; a command's module is imported only when it is asked for."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from klipstream_cli.errors import Exit, Problem

PROGRAM = "kubectl analysis"
JOB_COMMANDS = {
    "submit": "Submit videos, from the command line or a file of URLs.",
    "list": "List jobs with place in the queue and progress.",
    "status": "Everything about a job: progress, attempts, what to do next.",
    "why": "Why a job waits: place, who is ahead, when it starts, what another priority would change.",
    "top": "Live view of queues and jobs; keys cancel, raise and pause.",
    "watch": "Follow jobs until they are finished.",
    "logs": "Logs of a job's worker, across its attempts.",
    "cancel": "Cancel jobs.",
    "retry": "Run failed jobs again.",
    "prioritize": "Change the priority of jobs.",
    "queue": "Queues: list, status, pause, resume, drain, config, clear, clear-stuck, reconcile.",
    "dlq": "Dead letters: list, groups, show, replay.",
    "report": "Throughput, success rate, waits and run times; also as an HTML page.",
    "lint": "Check manifests offline, with the server's own messages.",
    "doctor": "Check cluster, rights, operator, webhooks and clocks.",
}
QUEUE_COMMANDS = {
    "list": "List queues.",
    "status": "Everything about a queue.",
    "pause": "Start nothing more; what runs goes on.",
    "resume": "Start jobs again.",
    "drain": "Refuse new jobs and finish what was accepted.",
    "config": "Show or change limits.",
    "clear": "Cancel everything that waits.",
    "clear-stuck": "End attempts that do not get on.",
    "reconcile": "Have the operator read everything again.",
}
DLQ_COMMANDS = {
    "list": "List dead letters.",
    "groups": "Dead letters that failed alike.",
    "show": "A dead letter, or a group, in full.",
    "replay": "Run dead letters again; of a group, one goes first.",
}
GROUPS: Mapping[str, Mapping[str, str]] = {"queue": QUEUE_COMMANDS, "dlq": DLQ_COMMANDS}


def _shared(
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", help="Namespace; the context's where absent.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")] = False,
    context: Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")] = None,
    kubeconfig: Annotated[str | None, typer.Option("--kubeconfig", help="Path of the kubeconfig.")] = None,
    request_timeout: Annotated[
        str, typer.Option("--request-timeout", metavar="SPAN", help="How long one answer may take; 0: no limit.")
    ] = "30s",
) -> None:
    """The options of every command."""
    from klipstream_cli.session import Session, begin
    from klipstream_cli.times import parse_span

    try:
        seconds = parse_span(request_timeout)
    except ValueError as error:
        raise Problem(str(error), Exit.USAGE) from error
    begin(Session(namespace, all_namespaces, context, kubeconfig, seconds))


def _built(name: str, function: Callable[..., Any], about: str | None = None) -> TyperCommand:
    settings = {"help_option_names": ["-h", "--help"]}
    # The backspace keeps the lines of the examples as they are.
    about = None if about is None else about.replace("Examples:\n\n", "Examples:\n\n\b\n")
    info = CommandInfo(name=name, cls=TyperCommand, callback=function, help=about, context_settings=settings)
    built = get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)
    assert isinstance(built, TyperCommand)
    return built


def _with_shared_options(command: TyperCommand) -> TyperCommand:
    """The command with the shared options, which open its session before it runs."""
    params = _built("shared", _shared).params
    own = command.callback
    assert own is not None
    command.params = [*command.params, *params]

    def run(**values: Any) -> Any:
        _shared(**{param.name: values.pop(param.name) for param in params if param.name is not None})
        return own(**values)

    command.callback = run
    return command


class LazyGroup(TyperGroup):
    """A group whose commands are modules: help needs their names alone."""

    table: Mapping[str, str]
    package = "klipstream_cli.commands"

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the interface of a group
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in self.table:
            return None
        if self.package == "klipstream_cli.commands" and cmd_name in GROUPS:
            return group(cmd_name)
        module = importlib.import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        return _with_shared_options(_built(cmd_name, module.command, module.__doc__))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.table and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], list(self.table), 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"`{PROGRAM} --help` lists the commands."
            raise Problem(f"there is no command {args[0]!r}", Exit.USAGE, hint)
        return super().resolve_command(ctx, args)


class _Root(LazyGroup):
    table = JOB_COMMANDS


class _Queue(LazyGroup):
    table = QUEUE_COMMANDS
    package = "klipstream_cli.commands.queue"


class _Dlq(LazyGroup):
    table = DLQ_COMMANDS
    package = "klipstream_cli.commands.dlq"


_CLASSES: dict[str, type[LazyGroup]] = {"": _Root, "queue": _Queue, "dlq": _Dlq}
_ABOUT = {
    "": "Submit, follow and steer analyses.",
    "queue": "Look at queues, and steer them.",
    "dlq": "Look at dead letters, and run them again.",
}


def group(name: str) -> LazyGroup:
    """The group of that name; "" for the whole program."""
    settings = {"help_option_names": ["-h", "--help"]}
    built = _CLASSES[name](name=name or PROGRAM, help=_ABOUT[name], no_args_is_help=True, context_settings=settings,
                           rich_markup_mode=None)  # fmt: skip
    if not name:
        built.params.extend(_built("program", _program).params)
        for param in built.params:
            param.expose_value = False
    return built


def _show_version(value: bool) -> None:
    if value:
        from klipstream_cli.own_version import own_version

        print(f"kubectl-analysis {own_version()}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """The options of the program itself."""


def _shared_last(arguments: list[str]) -> list[str]:
    """Shared options that stand before the command, as kubectl takes them, put behind it."""
    names = {
        name: not getattr(option, "is_flag", False)
        for option in _built("shared", _shared).params
        for name in option.opts
    }
    left, moved = list(arguments), list[str]()
    while left and left[0].startswith("-"):
        name, equals, _ = left[0].partition("=")
        short = name[:2]
        joined = bool(equals) or (len(name) > 2 and not name.startswith("--"))  # --context=a, -na
        if name not in names and not (names.get(short)):
            break
        count = 1 if joined or not names.get(name, False) else 2
        moved += left[:count]
        del left[:count]
    words = 2 if left[:1] and left[0] in GROUPS else 1
    return [*left[:words], *moved, *left[words:]]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code."""
    from klipstream_cli.failures import reported

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our characters shows others in their place
    with reported() as outcome:
        program = group("")
        given = _shared_last(sys.argv[1:] if arguments is None else arguments)
        code = program.main(args=given, prog_name=PROGRAM, standalone_mode=False)
        outcome.code = code if isinstance(code, int) else 0
    with reported() as end:
        sys.stdout.flush()  # here, where a pipe that was closed is no news, and a full disk is told
    return outcome.code or end.code
