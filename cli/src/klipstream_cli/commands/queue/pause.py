"""Pause queues: nothing more starts, what runs goes on, submissions are accepted.

Examples:

  kubectl analysis queue pause
  kubectl analysis queue pause live batch
"""

from typing import Annotated

import typer

from klipstream_cli.administration import set_mode, the_queue
from klipstream_cli.session import current


def command(
    queues: Annotated[list[str] | None, typer.Argument(metavar="[QUEUE...]", help="The only one, or default.")] = None,
) -> None:
    """Pause queues."""
    session = current()
    set_mode(session, queues or [the_queue(session, None)], "Paused", "is paused; what runs goes on")
