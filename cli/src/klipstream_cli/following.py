"""Objects followed as they change, over lost connections and restarts of the API server."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Any

from klipstream_cli.api import Api
from klipstream_cli.errors import ApiProblem, Gone, Unreachable
from klipstream_cli.patience import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS, is_away
from klipstream_cli.printing import note
from klipstream_cli.resources import Resource

Object = dict[str, Any]
SHORTEST_WATCH_SECONDS = 0.9
"""A watch is asked to last a second at least; one that ends earlier, without a word, is no answer."""


def changes(
    api: Api,
    resource: Resource,
    namespace: str | None,
    names: Collection[str] = (),
    *,
    seconds: float | None = None,
    label_selector: str | None = None,
    field_selector: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[tuple[str, Object]]:
    """("ADDED" | "MODIFIED" | "DELETED" | "LISTED", object): the state now, then each change; LISTED follows a list.

    Ends after `seconds`. What was deleted while nobody watched is told as DELETED. `names` limits it to some objects.
    Raises Unreachable once the server has been away for `patience_seconds`, and at once where it never answered.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    wanted = frozenset(names)
    if len(wanted) == 1:
        field_selector = ",".join(filter(None, (field_selector, f"metadata.name={next(iter(wanted))}")))
    known: dict[tuple[str, str], Object] = {}
    version, away_since, pause = "", None, FIRST_PAUSE_SECONDS
    answered = said = False
    while deadline is None or time.monotonic() < deadline:
        try:
            if not version:
                items, version = api.list(
                    resource, namespace, label_selector=label_selector, field_selector=field_selector
                )
                answered, away_since = True, None
                yield from _compared(known, items, wanted)
            left = 300.0 if deadline is None else min(300.0, deadline - time.monotonic())
            began, said_nothing = time.monotonic(), True
            for kind, item in api.watch(
                resource, namespace, version, label_selector=label_selector, field_selector=field_selector,
                seconds=max(1, round(left)),
            ):  # fmt: skip
                away_since, pause, said, said_nothing = None, FIRST_PAUSE_SECONDS, False, False
                version = str(item["metadata"]["resourceVersion"])
                if kind == "BOOKMARK" or (wanted and item["metadata"]["name"] not in wanted):
                    continue
                _remember(known, kind, item)
                yield kind, item
            if said_nothing and time.monotonic() - began < SHORTEST_WATCH_SECONDS:
                raise Unreachable("it ends every watch at once")
            pause = FIRST_PAUSE_SECONDS
        except Gone:  # a list is due; one after the other would be no answer to a server that keeps no history
            version = ""
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        except (Unreachable, ApiProblem) as problem:
            lasting = not is_away(problem)
            now = time.monotonic()
            if away_since is None:
                away_since = now
            elif answered and not lasting and not said:  # a watch that was merely cut off is no news
                note(f"The API server is away ({problem.message}); trying again.")
                said = True
            if lasting or not answered or now - away_since > patience_seconds:
                raise
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - now)))
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)


def _compared(
    known: dict[tuple[str, str], Object], items: list[Object], wanted: frozenset[str]
) -> Iterator[tuple[str, Object]]:
    """What a list shows beyond what is known."""
    found = {_key(item): item for item in items if not wanted or item["metadata"]["name"] in wanted}
    for key in [key for key in known if key not in found]:
        yield "DELETED", known.pop(key)
    for key, item in found.items():
        before = known.get(key)
        known[key] = item
        if before is None or before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            yield "ADDED" if before is None else "MODIFIED", item
    yield "LISTED", {}


def _remember(known: dict[tuple[str, str], Object], kind: str, item: Object) -> None:
    if kind == "DELETED":
        known.pop(_key(item), None)
    else:
        known[_key(item)] = item


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
