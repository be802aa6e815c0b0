"""What an operator does by hand: list deliveries, redeliver, verify an endpoint."""

import json
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from klipstream_api import AnalysisQueue, Stage, WebhookEvent
from klipstream_kube import ApiError, Client, NotFound, Unreachable
from klipstream_relay.acknowledgement import ANALYSIS_QUEUES
from klipstream_relay.authorised import sender_of
from klipstream_relay.deliveries import Delivery, State
from klipstream_relay.directory import Directory, queue_recipients
from klipstream_relay.events import Announcement, milliseconds
from klipstream_relay.ledger_file import Entry, LedgerFile
from klipstream_relay.payload import body_of
from klipstream_relay.settings import Settings

TEST_JOB = "relay-verify"
"""The job_id of a test event: no job has it, since its own are uids or names of a backup."""


class CannotDo(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def opened(path: Path) -> LedgerFile:
    """The ledger of a relay that may be running."""
    if not path.is_file():
        raise CannotDo(f"there is no ledger {path}: set KLIPSTREAM_LEDGER, or run this in the relay's pod")
    return LedgerFile(path)


def list_deliveries(
    path: Path, state: State | None, endpoint: str | None, job: str | None, at_most: int, as_json: bool
) -> None:
    """Print the deliveries that match, the latest first, and how many there are of each state."""
    file = opened(path)
    try:
        if not as_json:
            print(f"{'WHEN':<20} {'STATE':<10} {'EVENT':<14} {'TRIES':>5} {'CODE':>4} {'ID':<36} ENDPOINT  WHY")
        for entry in file.entries(state, endpoint, job, at_most):
            print(_line(entry, as_json))
        if not as_json:
            counts = ", ".join(f"{count} {name}" for name, count in sorted(file.counts().items()))
            print(f"altogether: {counts or 'none'}", file=sys.stderr)
    finally:
        file.close()


def _line(entry: Entry, as_json: bool) -> str:
    each = entry.delivery
    when = datetime.fromtimestamp(entry.ended or each.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if as_json:
        return json.dumps({
            "id": each.id, "endpoint": each.endpoint, "event": each.event, "jobUid": each.job_uid,
            "namespace": each.namespace, "state": entry.state, "tries": each.tries, "time": when, "code": entry.code,
            "reason": entry.reason, "message": entry.message, "body": json.loads(each.body),
        })  # fmt: skip
    why = f"{entry.reason}: {entry.message}" if entry.reason and entry.state is not State.DELIVERED else ""
    code = entry.code if entry.code is not None else "-"
    return (
        f"{when:<20} {entry.state:<10} {each.event:<14} {each.tries:>5} {code:>4} {each.id:<36} {each.endpoint}  {why}"
    )


def redeliver(path: Path, ids: Sequence[str], endpoint: str | None, all_dead: bool) -> int:
    """Have deliveries sent again, with their old ids; the running relay sees it within a second. How many."""
    if not ids and not all_dead:
        raise CannotDo("say which: ids of deliveries (see list), or --dead for all dead letters")
    file = opened(path)
    try:
        file.begin()
        try:
            count = file.redeliver(list(ids) or None, endpoint, time.time())
            file.commit()
        finally:
            file.rollback()
    finally:
        file.close()
    return count


async def verify(settings: Settings, client: Client, where: str) -> tuple[bool, str]:
    """Send a test event to NAMESPACE/QUEUE/ENDPOINT, as a real one would be sent; whether it arrived, and why."""
    try:
        namespace, queue_name, name = where.split("/")
    except ValueError:
        raise CannotDo(f"{where!r}: write NAMESPACE/QUEUE/ENDPOINT") from None
    try:
        queue = AnalysisQueue.from_wire(await client.get(ANALYSIS_QUEUES, queue_name, namespace))
    except NotFound:
        raise CannotDo(f"there is no AnalysisQueue {queue_name} in the namespace {namespace}") from None
    except (ApiError, Unreachable) as error:
        raise CannotDo(f"the AnalysisQueue cannot be read: {error}") from None
    key = f"queue/{namespace}/{queue_name}/{name}"
    recipient = next((each for each in queue_recipients(queue) if each.endpoint.key == key), None)
    if recipient is None:
        names = ", ".join(each.name for each in queue.spec.endpoints) or "none"
        raise CannotDo(f"AnalysisQueue {queue_name} has no endpoint {name}; it has: {names}")
    directory = Directory()
    directory.put_queue(queue)
    now = datetime.now(UTC)
    what = Announcement(
        WebhookEvent.PROGRESS, f"msg_test_{uuid.uuid4().hex[:24]}", now, milliseconds(now), 0, 0.0, Stage.QUEUED
    )
    delivery = Delivery(
        what.id, key, recipient.url, what.event, "", namespace, body_of(TEST_JOB, None, what), now.timestamp()
    )
    async with sender_of(settings, client, directory, _no_job) as sender:
        outcome = await sender.send(delivery)
    return outcome.delivered, f"{recipient.url}: {outcome.message} ({outcome.reason}, {outcome.seconds * 1000:.0f} ms)"


async def _no_job(_: str) -> None:
    """A queue's endpoint is authorised by Secrets, never by what a job sealed."""
