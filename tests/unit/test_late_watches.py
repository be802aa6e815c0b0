"""What a watch that was silent for long brings after everything was listed live."""

from types import SimpleNamespace
from typing import Any

import pytest

from klipfake.objects import NOW, UID, job
from klipstream_operator.store import Store
from klipstream_operator.sweep import Sweep


@pytest.mark.parametrize(
    ("rule", "uid", "version", "namespace", "past"),
    [
        ("what the list did not have was gone by then", "gone", "10", None, True),
        ("what came after the list is new", "gone", "11", None, False),
        ("what is held may be older there, and is compared as ever", UID, "3", None, False),
        ("another namespace has a list of its own", "gone", "10", "n", False),
    ],
)
def test_a_late_watch_does_not_bring_back_what_is_gone(
    rule: str, uid: str, version: str, namespace: str | None, past: bool
) -> None:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_job(job(), NOW)
    writer: Any = SimpleNamespace(store=store)
    sweep = Sweep(None, writer, (), 60, lambda *_: 0, lambda *_: None)  # type: ignore[arg-type]
    assert not sweep.is_past({"metadata": {"uid": "gone", "resourceVersion": "1"}}, None), "nothing was listed yet"
    sweep._listed_upto[None] = 10
    assert sweep.is_past({"metadata": {"uid": uid, "resourceVersion": version}}, namespace) == past, rule
