"""Live view of queues and jobs; needs a terminal, or --once for a single picture.

Keys: arrows or j and k select; c cancel, + and - priority, p pause or resume the queue, r retry, w why,
f finished jobs, tab next queue, q quit.

Examples:

  kubectl analysis top
  kubectl analysis top -A
  kubectl analysis top --once > picture.txt
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from typing import Annotated

import typer

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.session import current

ONCE_SIZE = (160, 50)


def command(
    once: Annotated[bool, typer.Option("--once", help="One picture, and end.")] = False,
    svg: Annotated[str | None, typer.Option("--svg", metavar="FILE", help="With --once: the picture as SVG.")] = None,
) -> None:
    """Live view of queues and jobs."""
    session = current()
    if svg is not None and not once:
        raise Problem("--svg goes with --once", Exit.USAGE)
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Problem("top needs a terminal", Exit.USAGE, "--once prints a single picture, list a table.")
    from rich.console import Console

    from klipstream_cli.live.loop import Screen
    from klipstream_cli.live.loop import once as show_once
    from klipstream_cli.live.picture import Feeds, Picture

    picture = Picture()
    feeds = Feeds(session, picture)
    session.scope  # noqa: B018 - a bad kubeconfig is told before the screen is taken
    session.api.credentials.headers()  # and an exec plugin asks before
    session.api.credentials.may_ask = once
    feeds.start()
    if not once:
        Screen(session, picture, feeds, Console()).run()
        return
    seconds = session.timeout_seconds or math.inf
    columns, lines = shutil.get_terminal_size(ONCE_SIZE)
    size = columns, lines - 1 if sys.stdout.isatty() else lines  # the prompt needs a line
    if svg is None:
        show_once(session, picture, feeds, Console(width=size[0], height=size[1]), seconds)
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(width=size[0], height=size[1], record=True, file=nowhere, force_terminal=True,
                          color_system="truecolor")  # fmt: skip
        show_once(session, picture, feeds, console, seconds)
    console.save_svg(svg, title="kubectl analysis top")
