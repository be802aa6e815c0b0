"""Dead letters that failed alike, the largest group first.

Examples:

  kubectl analysis dlq groups
"""

from typing import Any

from klipstream_cli.options import NoHeadersOption, Output, OutputOption, QueueOption
from klipstream_cli.printing import document, note, table
from klipstream_cli.resources import ANALYSIS_QUEUES
from klipstream_cli.session import current


def command(
    output: OutputOption = Output.TABLE, queue: QueueOption = None, no_headers: NoHeadersOption = False
) -> None:
    """Dead letters that failed alike."""
    session = current()
    if queue is not None:
        queues = [session.api.get(ANALYSIS_QUEUES, session.namespace, queue)]
    else:
        queues, _ = session.api.list(ANALYSIS_QUEUES, session.scope)
    found = sorted(
        (_group(each, group) for each in queues for group in each.get("status", {}).get("deadLetterGroups") or []),
        key=lambda group: -group["count"],
    )
    if output is Output.NAME:
        for group in found:
            print(group["fingerprint"])
    elif output.is_document:
        document(found, output)
    elif not found:
        note("No dead letters.")
    else:
        rows = [
            (g["fingerprint"], g["queue"], str(g["count"]), g["reason"], g["example"], g["replay"],
             g["message"][: 200 if output is Output.WIDE else 50])
            for g in found
        ]  # fmt: skip
        table(("FINGERPRINT", "QUEUE", "COUNT", "REASON", "EXAMPLE", "REPLAY", "MESSAGE"), rows, headers=not no_headers)


def _group(queue: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    replays = [r for r in queue.get("status", {}).get("replays") or [] if r.get("fingerprint") == group["fingerprint"]]
    return {
        "fingerprint": group["fingerprint"],
        "queue": queue["metadata"]["name"],
        "namespace": queue["metadata"]["namespace"],
        "count": int(group["count"]),
        "reason": str(group.get("reason") or ""),
        "message": str(group.get("message") or ""),
        "example": str(group.get("example") or ""),
        "replay": str(replays[-1].get("state") or "") if replays else "",
    }
