"""End attempts that do not get on; each burns a retry.

Examples:

  kubectl analysis queue clear-stuck
"""

from typing import Annotated

import typer

from klipstream_cli.administration import CLEAR_STUCK, ask, say_answer, stamp, the_queue
from klipstream_cli.options import WaitOption
from klipstream_cli.session import current


def command(
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="The only one, or default, where absent.")
    ] = None,
    timeout: WaitOption = 60.0,
) -> None:
    """End attempts that do not get on."""
    session = current()
    name = the_queue(session, queue)
    say_answer(name, ask(session, name, CLEAR_STUCK, stamp(), timeout))
