"""Have the operator read everything again, and say_answer what it had missed.

Examples:

  kubectl analysis queue reconcile
"""

from typing import Annotated

import typer

from klipstream_cli.administration import RECONCILE, ask, say_answer, stamp, the_queue
from klipstream_cli.options import WaitOption
from klipstream_cli.session import current


def command(
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="The only one, or default, where absent.")
    ] = None,
    timeout: WaitOption = 60.0,
) -> None:
    """Have the operator read everything again."""
    session = current()
    name = the_queue(session, queue)
    say_answer(name, ask(session, name, RECONCILE, stamp(), timeout))
