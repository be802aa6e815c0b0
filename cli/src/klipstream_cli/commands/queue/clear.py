"""Cancel everything that waits in a queue, after asking; what runs goes on.

Examples:

  kubectl analysis queue clear live
  kubectl analysis queue clear live --yes
"""

from typing import Annotated

import typer

from klipstream_cli.administration import CLEAR, ask, say_answer, stamp
from klipstream_cli.changing import confirmed
from klipstream_cli.options import WaitOption, YesOption
from klipstream_cli.resources import ANALYSIS_QUEUES
from klipstream_cli.session import current


def command(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="AnalysisQueue; it must be named.")],
    yes: YesOption = False,
    timeout: WaitOption = 60.0,
) -> None:
    """Cancel everything that waits."""
    session = current()
    status = session.api.get(ANALYSIS_QUEUES, session.namespace, queue).get("status", {})
    waiting = int(status.get("queued") or 0) + int(status.get("backingOff") or 0)
    confirmed(f"Cancel all {waiting} waiting jobs of the queue {queue} in {session.namespace}?", yes)
    say_answer(queue, ask(session, queue, CLEAR, f"{queue} {stamp()}", timeout))
