"""Turns what ends a command early into a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.printing import coloured, paint, safe


@dataclass(slots=True)
class Outcome:
    """The exit code so far."""

    code: int = 0


@contextmanager
def reported() -> Iterator[Outcome]:
    """What a command raises ends here: a line for people on stderr, and a code for programs."""
    outcome = Outcome()
    try:
        yield outcome
    except Problem as problem:
        _say(problem.message, problem.hint)
        outcome.code = int(problem.code)
    except typer.Exit as end:
        outcome.code = end.exit_code
    except typer.TyperException as error:
        _say(error.format_message(), "")
        context = getattr(error, "ctx", None)
        if context is not None:
            sys.stderr.write(f"Try '{context.command_path} --help'.\n")
        outcome.code = int(Exit.USAGE)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("\n")
        outcome.code = int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # `| head` has seen enough; the interpreter would complain again when it flushes.
        _close_output()
        outcome.code = int(Exit.OK)
    except OSError as error:  # a file that cannot be written, or a full disk behind a redirection
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}", "")
        _close_output()
        outcome.code = int(Exit.FAILED)


def _close_output() -> None:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, hint: str) -> None:
    on = coloured(sys.stderr)
    lines = [safe(line) for line in message.splitlines()] or ["it failed"]
    sys.stderr.write(f"{paint('error:', 'red', on)} {lines[0]}\n")
    for line in lines[1:]:
        sys.stderr.write(f"  {line}\n")
    if hint:
        sys.stderr.write(f"{safe(hint)}\n")
