"""What runs save: a sixth of their time. The one does not change what happens, the other hardly does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import klipstream_kube.clock as clock
import klipstream_operator.runtime as runtime
from klipsim.exchange import exchanged
from klipsim.objects import Object
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_kube import LeaseElector
from klipstream_operator.metrics import Metrics


@contextmanager
def nothing_twice() -> Iterator[None]:
    """Each version of an object and each date is parsed once for all replicas, and tasks are not listed."""
    swaps: list[tuple[Any, str, object]] = [
        *((model, "from_wire", _once(model.from_wire)) for model in (AnalysisJob, AnalysisQueue)),
        *((runtime, name, _once(getattr(runtime, name))) for name in ("view_job", "view_pod")),
        (clock, "_seconds", lru_cache(maxsize=1024)(clock._seconds.__wrapped__)),
    ]
    all_tasks = getattr(asyncio.tasks, "_all_tasks", None)  # of Python 3.11
    if all_tasks is not None:
        swaps.append((all_tasks, "add", _ignored))
    with exchanged(*swaps):
        yield


@contextmanager
def less_done() -> Iterator[None]:
    """Nothing is counted or timed, and standbys look at the Lease every four seconds, and when it runs out: what is
    lost is how soon one meets what its predecessor left when that gave the Lease up."""
    with exchanged(
        *((Metrics, name, _ignored) for name in ("_begin_at_zero", "job_written", "request")),
        (Metrics, "reconciling", nullcontext),
        (LeaseElector, "_until_next_try_seconds", _rarely(LeaseElector._until_next_try_seconds)),
        (runtime, "CANDIDATE_RETRY_SECONDS", 2.0),
    ):
        yield


def _ignored(*_: object, **__: object) -> None:
    """Stands for what need not be done."""


def _rarely(until_next_try_seconds: Callable[[LeaseElector], float]) -> Callable[[LeaseElector], float]:
    def seconds(elector: LeaseElector) -> float:
        left_seconds = elector._expires_at - elector._monotonic()
        if left_seconds <= 0:
            return until_next_try_seconds(elector)
        return min(4.0 * random.uniform(1.0, 1.2), left_seconds)

    return seconds


def _once(parse: Callable[[Object], Any]) -> Callable[[Object], Any]:
    """All are handed the same objects, which are never changed; nor is what they are parsed to."""
    known: dict[int, tuple[Object, Any]] = {}

    def parsed(obj: Object) -> Any:
        found = known.get(id(obj))
        if found is None:
            found = known[id(obj)] = (obj, parse(obj))  # an object that is kept keeps its id
        return found[1]

    return parsed
