"""What a run saves without changing what happens in it: a third of its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import klipstream_operator.runtime as runtime
from klipsim.objects import Object
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_operator.metrics import Metrics


@contextmanager
def nothing_twice() -> Iterator[None]:
    """Each version of an object is parsed once for all replicas, nothing is timed, and standbys look at the
    Lease every two seconds instead of twice a second."""
    with ExitStack() as stack:
        for model in (AnalysisJob, AnalysisQueue):
            stack.enter_context(mock.patch.object(model, "from_wire", _once(model.from_wire)))
        for name in ("view_job", "view_pod"):
            stack.enter_context(mock.patch.object(runtime, name, _once(getattr(runtime, name))))
        ignored = lambda *_, **__: None  # noqa: E731  # a mock would keep a list of all calls
        stack.enter_context(mock.patch.object(Metrics, "request", ignored))
        stack.enter_context(mock.patch.object(Metrics, "reconciling", nullcontext))
        stack.enter_context(mock.patch.object(runtime, "CANDIDATE_RETRY_SECONDS", 2.0))
        yield


def _once(parse: Callable[[Object], Any]) -> Callable[[Object], Any]:
    """What a version of an object is parsed to never changes, and is never changed."""
    known: dict[tuple[str, str], Any] = {}

    def parsed(obj: Object) -> Any:
        metadata = obj["metadata"]
        key = (metadata.get("uid", ""), metadata.get("resourceVersion", ""))
        if not all(key):
            return parse(obj)
        if key not in known:
            known[key] = parse(obj)
        return known[key]

    return parsed
