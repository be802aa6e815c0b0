"""Resume queues: jobs start again.

Examples:

  kubectl analysis queue resume
  kubectl analysis queue resume live batch
"""

from typing import Annotated

import typer

from klipstream_cli.administration import set_mode, the_queue
from klipstream_cli.session import current


def command(
    queues: Annotated[list[str] | None, typer.Argument(metavar="[QUEUE...]", help="The only one, or default.")] = None,
) -> None:
    """Resume queues."""
    session = current()
    set_mode(session, queues or [the_queue(session, None)], "Running", "runs")
