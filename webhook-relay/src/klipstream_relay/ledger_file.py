"""The ledger as a SQLite file: what is to be delivered, what became of it, and which jobs are still open.

Every method is one step of a transaction; `ledger.py` groups them. The file may be read and changed by `list` and
`redeliver` while the relay runs (WAL), but only on a local disk or a block volume: its index is shared memory.

synchronous=FULL: a killed process loses nothing either way, but after a power failure NORMAL would lose the last
commits. Most of that could be told again from the custom resources; a deletion and a dead letter stand nowhere else.
Commits are grouped, so that many share one sync.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from klipstream_api import FINAL_EVENTS, WebhookEvent
from klipstream_relay.deliveries import Delivery, State

BUSY_SECONDS = 15.0
_FINAL = ", ".join(f"'{event}'" for event in sorted(FINAL_EVENTS))
_COLUMNS = "id, endpoint, url, event, job_uid, namespace, body, created, tries"
_COMPLETE = (
    "SELECT * FROM jobs WHERE open = 1 AND finished_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deliveries d"  # noqa: S608
    f" WHERE d.job_uid = jobs.uid AND d.state = 'pending' AND d.event IN ({_FINAL}))"
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL, endpoint TEXT NOT NULL, url TEXT NOT NULL, event TEXT NOT NULL, job_uid TEXT NOT NULL,
    namespace TEXT NOT NULL, body BLOB NOT NULL, created REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending', due REAL NOT NULL,
    head INTEGER NOT NULL,  -- 1: nothing of the same job is to be delivered there before it
    ended REAL, code INTEGER, reason TEXT, message TEXT,
    UNIQUE (endpoint, id)
) STRICT;
CREATE INDEX IF NOT EXISTS heads ON deliveries (endpoint, due) WHERE state = 'pending' AND head = 1;
CREATE INDEX IF NOT EXISTS chains ON deliveries (job_uid, endpoint, number) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS waiting ON deliveries (created) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS states ON deliveries (state);
CREATE INDEX IF NOT EXISTS ended ON deliveries (ended) WHERE state <> 'pending';
CREATE INDEX IF NOT EXISTS jobs_of ON deliveries (job_uid);
CREATE TABLE IF NOT EXISTS jobs (
    uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, job_id TEXT NOT NULL, video_id TEXT,
    attempt INTEGER NOT NULL, sequence INTEGER NOT NULL,
    told TEXT NOT NULL,         -- JSON: [key, url] of those who are told when it is deleted
    finished_at TEXT,           -- as the API server writes it; NULL while the job is not finished
    open INTEGER NOT NULL       -- 1 until the end is acknowledged in the job's status, or the job is gone
) STRICT;
CREATE INDEX IF NOT EXISTS open_jobs ON jobs (uid) WHERE open = 1;
CREATE TABLE IF NOT EXISTS endpoints (
    key TEXT PRIMARY KEY, facts TEXT NOT NULL, since REAL NOT NULL, down INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS gone (endpoint TEXT NOT NULL, url TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (endpoint, url)) STRICT;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class JobRow:
    """What must be known of a job to acknowledge its end, or to announce that it was deleted."""

    uid: str
    namespace: str
    name: str
    job_id: str
    video_id: str | None
    attempt: int
    sequence: int
    told: tuple[tuple[str, str], ...]
    """Key and URL of those who are told when it is deleted."""
    finished_at: str | None
    """As the API server writes it."""
    open: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """A delivery as `list` shows it."""

    delivery: Delivery
    state: State
    due: float
    ended: float | None
    code: int | None
    reason: str | None
    message: str | None


@dataclass(slots=True)
class Taken:
    """Deliveries that may be sent now, and when each endpoint that was asked for has something again."""

    deliveries: list[tuple[int, Delivery]] = field(default_factory=list)
    """With their number in the ledger."""
    next_due: dict[str, float] = field(default_factory=dict)


class Settlement(NamedTuple):
    """What became of a try."""

    number: int
    delivery: Delivery
    state: State
    tries: int
    due: float
    code: int | None
    reason: str
    message: str


class LedgerFile:
    """The open file. Not thread-safe: one thread uses it."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "wal_autocheckpoint=2000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._taken: dict[str, set[int]] = {}

    def close(self) -> None:
        self._db.close()

    def begin(self) -> None:
        """Start to write."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def version(self) -> int:
        """Changes when another process changed the file."""
        return int(self._one("PRAGMA data_version"))

    # --- what is announced -----------------------------------------------------------------------------------

    def record(self, job: JobRow, deliveries: Iterable[Delivery]) -> set[str]:
        """Add what is not there yet, in order; the endpoints that got something to deliver.

        Whatever is newer takes the place of progress of the same job that has not been sent yet.
        """
        self.put_job(job)
        changed = set()
        for each in deliveries:
            added = self._db.execute(
                f"INSERT OR IGNORE INTO deliveries ({_COLUMNS}, due, head)"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (each.id, each.endpoint, each.url, each.event, each.job_uid, each.namespace, each.body, each.created,
                 each.tries, each.created),
            ).rowcount  # fmt: skip
            if added:
                self._supersede(each)
                self._promote(each.job_uid, each.endpoint, each.created)
                changed.add(each.endpoint)
        return changed

    def _supersede(self, newer: Delivery) -> None:
        taken = self._taken.get(newer.endpoint, ())
        rows = self._db.execute(
            "SELECT number FROM deliveries WHERE job_uid = ? AND endpoint = ? AND state = 'pending' AND event = ?"
            " AND id <> ?", (newer.job_uid, newer.endpoint, WebhookEvent.PROGRESS, newer.id),
        ).fetchall()  # fmt: skip
        for (number,) in rows:
            if number not in taken:
                self._db.execute("DELETE FROM deliveries WHERE number = ?", (number,))

    def _promote(self, job_uid: str, endpoint: str, not_before: float) -> None:
        """Let the first of a job's pending deliveries at an endpoint be the head of its chain."""
        self._db.execute(
            "UPDATE deliveries SET head = 1, due = max(due, ?) WHERE head = 0 AND number = ("
            "SELECT min(number) FROM deliveries WHERE job_uid = ? AND endpoint = ? AND state = 'pending')",
            (not_before, job_uid, endpoint),
        )

    def put_job(self, job: JobRow) -> None:
        """Remember a job, or what is new of it."""
        self._db.execute(
            "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET"
            " attempt = excluded.attempt, sequence = max(sequence, excluded.sequence), told = excluded.told,"
            " finished_at = excluded.finished_at, open = excluded.open",
            (job.uid, job.namespace, job.name, job.job_id, job.video_id, job.attempt, job.sequence,
             json.dumps(job.told), job.finished_at, job.open),
        )  # fmt: skip

    def job(self, uid: str) -> JobRow | None:
        """What is known of a job."""
        row = self._db.execute("SELECT * FROM jobs WHERE uid = ?", (uid,)).fetchone()
        return None if row is None else _job(row)

    def close_job(self, uid: str, finished_at: str | None = None) -> None:
        """Its end is acknowledged, or it is gone. With `finished_at`: only if that is still its end."""
        where, values = ("", (uid,)) if finished_at is None else (" AND finished_at = ?", (uid, finished_at))
        self._db.execute(f"UPDATE jobs SET open = 0 WHERE uid = ?{where}", values)  # noqa: S608

    def open_uids(self, namespaces: tuple[str, ...]) -> set[str]:
        """Jobs of these namespaces (all where empty) that were not closed."""
        rows = self._db.execute("SELECT uid, namespace FROM jobs WHERE open = 1")
        return {uid for uid, namespace in rows if not namespaces or namespace in namespaces}

    def complete(self, uids: Iterable[str] | None, at_most: int = 500) -> list[JobRow]:
        """Finished jobs (among these) whose end has reached everybody, or was given up, and is not acknowledged."""
        if uids is None:
            return [_job(row) for row in self._db.execute(f"{_COMPLETE} LIMIT ?", (at_most,))]
        found: list[JobRow] = []
        for uid in uids:
            found += [_job(row) for row in self._db.execute(f"{_COMPLETE} AND uid = ?", (uid,))]
        return found

    # --- what is delivered -----------------------------------------------------------------------------------

    def take(self, wanted: Mapping[str, int], now: float) -> Taken:
        """The next deliveries of each endpoint, at most so many, for the caller to send and settle.

        At most one of a job at an endpoint is out at a time.
        """
        result = Taken()
        for endpoint, count in wanted.items():
            out = self._taken.setdefault(endpoint, set())
            rows = self._db.execute(
                f"SELECT number, due, {_COLUMNS} FROM deliveries WHERE endpoint = ? AND state = 'pending'"  # noqa: S608
                " AND head = 1 ORDER BY due LIMIT ?", (endpoint, count + len(out) + 1),
            ).fetchall()  # fmt: skip
            taken = 0
            for number, due, *values in rows:
                if number in out:
                    continue
                if due > now or taken == count:
                    result.next_due[endpoint] = due
                    break
                result.deliveries.append((number, Delivery(*values)))
                out.add(number)
                taken += 1
            if not out:
                del self._taken[endpoint]
        return result

    def give_back(self, endpoint: str, number: int) -> None:
        """A delivery that was taken is not sent now."""
        self._untake(endpoint, number)

    def settle(self, what: Settlement, now: float) -> None:
        """Write what became of a try, and let the next one of the job come."""
        each = what.delivery
        self._untake(each.endpoint, what.number)
        if what.state is State.PENDING:
            newer = self._db.execute(
                "SELECT 1 FROM deliveries WHERE job_uid = ? AND endpoint = ? AND state = 'pending' AND number > ?",
                (each.job_uid, each.endpoint, what.number),
            ).fetchone()
            if each.event == WebhookEvent.PROGRESS and newer is not None:
                self._db.execute("DELETE FROM deliveries WHERE number = ?", (what.number,))
                self._promote(each.job_uid, each.endpoint, now)
                return
        ended = None if what.state is State.PENDING else now
        self._db.execute(
            "UPDATE deliveries SET state = ?, tries = ?, due = ?, ended = ?, code = ?, reason = ?, message = ?,"
            " head = ? WHERE number = ? AND state = 'pending'",
            (what.state, what.tries, what.due, ended, what.code, what.reason, what.message[:1024],
             int(what.state is State.PENDING), what.number),
        )  # fmt: skip
        if what.state is not State.PENDING:
            self._promote(each.job_uid, each.endpoint, now)

    def _untake(self, endpoint: str, number: int) -> None:
        out = self._taken.get(endpoint, set())
        out.discard(number)
        if not out:
            self._taken.pop(endpoint, None)

    def waiting_endpoints(self) -> dict[str, float]:
        """When the first delivery of each endpoint is due, for all that have pending ones."""
        query = "SELECT endpoint, min(due) FROM deliveries WHERE state = 'pending' AND head = 1 GROUP BY endpoint"
        return dict(self._db.execute(query))

    def give_up_old(self, before: float, now: float, at_most: int = 1000) -> list[str]:
        """Pending deliveries from before become dead letters; the uids of their jobs."""
        out = {number for numbers in self._taken.values() for number in numbers}
        rows = self._db.execute(
            "SELECT number, job_uid, endpoint FROM deliveries WHERE state = 'pending' AND created < ?"
            " ORDER BY created LIMIT ?", (before, at_most + len(out)),
        ).fetchall()  # fmt: skip
        uids = []
        for number, job_uid, endpoint in rows:
            if number in out:
                continue
            self._db.execute(
                "UPDATE deliveries SET state = 'dead', ended = ?, head = 0, reason = 'Expired',"
                " message = 'it could not be delivered in time; ' || coalesce(message, 'it was never tried')"
                " WHERE number = ?", (now, number),
            )  # fmt: skip
            self._promote(job_uid, endpoint, now)
            uids.append(job_uid)
        return uids

    # --- endpoints -------------------------------------------------------------------------------------------

    def see_endpoint(self, key: str, facts: str, since: float) -> float:
        """Remember an endpoint; since when it is told of anything: as it was said when it was first seen."""
        self._db.execute(
            "INSERT INTO endpoints (key, facts, since) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET facts = excluded.facts", (key, facts, since),
        )  # fmt: skip
        return float(self._one("SELECT since FROM endpoints WHERE key = ?", key))

    def endpoints(self) -> list[tuple[str, str, float, bool]]:
        """Key, facts, since, and whether its circuit was open, of all that are known."""
        rows = self._db.execute("SELECT key, facts, since, down FROM endpoints")
        return [(key, facts, since, bool(down)) for key, facts, since, down in rows]

    def forget_unused_callbacks(self) -> None:
        """Callbacks that nothing in the ledger is for, so that hosts of long ago do not pile up."""
        self._db.execute(
            "DELETE FROM endpoints WHERE key LIKE 'callback/%' AND NOT EXISTS"
            " (SELECT 1 FROM deliveries WHERE endpoint = endpoints.key)"
        )

    def set_down(self, key: str, down: bool) -> None:
        """The circuit of an endpoint opened, or closed."""
        self._db.execute("UPDATE endpoints SET down = ? WHERE key = ?", (int(down), key))

    def set_gone(self, endpoint: str, url: str, now: float) -> None:
        """The receiver answered 410."""
        self._db.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (endpoint, url, now))

    def gone(self) -> set[tuple[str, str]]:
        """Endpoint and URL of receivers that want no more."""
        return set(self._db.execute("SELECT endpoint, url FROM gone"))

    # --- operations ------------------------------------------------------------------------------------------

    def entries(self, state: State | None, endpoint: str | None, job: str | None, at_most: int) -> Iterator[Entry]:
        """The deliveries that match, the latest first; `job` is a uid or a job id."""
        where, values = ["1"], list[object]()
        for clause, value in (("state = ?", state), ("endpoint = ?", endpoint)):
            if value is not None:
                where.append(clause)
                values.append(value)
        if job is not None:
            where.append("job_uid IN (SELECT uid FROM jobs WHERE uid = ? OR job_id = ?)")
            values += [job, job]
        rows = self._db.execute(
            f"SELECT state, due, ended, code, reason, message, {_COLUMNS} FROM deliveries"  # noqa: S608
            f" WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?", (*values, at_most),
        )  # fmt: skip
        for name, due, ended, code, reason, message, *delivery in rows:
            yield Entry(Delivery(*delivery), State(name), due, ended, code, reason, message)

    def redeliver(self, ids: Iterable[str] | None, endpoint: str | None, now: float) -> int:
        """Send again: these ids (also if they were delivered), or all dead letters; of one endpoint where given.

        A redelivery has the old webhook-id and comes after what is pending of its job by then.
        """
        where, values = ("endpoint = ?", [endpoint]) if endpoint is not None else ("1", [])
        chosen: list[tuple[int, str, str, str]] = []
        query = f"SELECT number, job_uid, endpoint, url FROM deliveries WHERE {where}"  # noqa: S608
        if ids is None:
            chosen += self._db.execute(f"{query} AND state = 'dead' ORDER BY number", values).fetchall()
        else:
            for each in ids:
                chosen += self._db.execute(f"{query} AND state <> 'pending' AND id = ?", (*values, each)).fetchall()
        for number, job_uid, key, url in chosen:
            self._db.execute(
                "UPDATE deliveries SET state = 'pending', tries = 0, created = ?, due = ?, head = 0, ended = NULL,"
                " number = (SELECT max(number) + 1 FROM deliveries) WHERE number = ?", (now, now, number),
            )  # fmt: skip
            self._db.execute("DELETE FROM gone WHERE endpoint = ? AND url = ?", (key, url))
            self._promote(job_uid, key, now)
        return len(chosen)

    def counts(self) -> dict[str, int]:
        """Deliveries by state."""
        return dict(self._db.execute("SELECT state, count(*) FROM deliveries INDEXED BY states GROUP BY state"))

    def oldest_pending(self) -> float | None:
        """When the oldest pending delivery came in."""
        found = self._db.execute("SELECT min(created) FROM deliveries WHERE state = 'pending'").fetchone()[0]
        return None if found is None else float(found)

    def prune(self, before: float, at_most: int = 1000) -> int:
        """Forget deliveries that ended before: all progress, and what is of jobs that are closed; how many."""
        pruned = self._db.execute(
            "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries d WHERE state <> 'pending'"
            " AND ended < ? AND (event = 'job.progress' OR NOT EXISTS (SELECT 1 FROM jobs WHERE uid = d.job_uid"
            " AND open = 1)) LIMIT ?)", (before, at_most),
        ).rowcount  # fmt: skip
        self._db.execute(
            "DELETE FROM jobs WHERE open = 0 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job_uid = jobs.uid)"
        )
        return pruned

    def current_at(self) -> float:
        """Until when everything that had happened was seen, in Unix seconds; 0 before the first complete list."""
        found = self._db.execute("SELECT value FROM meta WHERE name = 'current'").fetchone()
        return 0.0 if found is None else float(found[0])

    def set_current(self, at: float) -> None:
        """Everything that happened until then was seen."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('current', ?)", (repr(at),))

    def identity(self) -> str:
        """Tells this file from any other, for as long as it exists."""
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('identity', lower(hex(randomblob(8))))")
        return str(self._db.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()[0])

    def _one(self, query: str, *values: object) -> float:
        return float(self._db.execute(query, values).fetchone()[0])


def _job(row: tuple[object, ...]) -> JobRow:
    uid, namespace, name, job_id, video_id, attempt, sequence, told, finished_at, is_open = row
    pairs = tuple((key, url) for key, url in json.loads(str(told)))
    return JobRow(
        str(uid), str(namespace), str(name), str(job_id), None if video_id is None else str(video_id),
        int(str(attempt)), int(str(sequence)), pairs, None if finished_at is None else str(finished_at), bool(is_open),
    )  # fmt: skip
