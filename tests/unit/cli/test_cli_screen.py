"""What the live views choose to show."""

from datetime import UTC, datetime, timedelta
from typing import Any

from klipstream_cli.api import Api
from klipstream_cli.bars import SHOWN_AT_MOST, Bars
from klipstream_cli.kubeconfig import Access
from klipstream_cli.live.picture import Picture
from klipstream_cli.live.screen import MESSAGE_SECONDS, View, frame

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def job(name: str, phase: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {}, "status": {"phase": phase}}


def test_bars_go_to_what_runs_when_there_are_too_many() -> None:
    bars = Bars(Api(Access("http://127.0.0.1:1")))
    names = [f"j{number:02}" for number in range(SHOWN_AT_MOST + 5)]
    for name in names:
        bars.show(job(name, "Queued"))
    bars.show(job(names[-1], "Running"))
    for name in names[:3]:
        bars.show(job(name, "Succeeded"))
    assert bars.shown() == [*names[3 : SHOWN_AT_MOST + 2], names[-1]]


def test_what_a_key_did_is_seen_although_a_feed_has_a_problem() -> None:
    picture, view = Picture(problems={"analysisqueues": "no right"}), View(message="talk is HIGH", said_at=NOW)

    def last_lines(now: datetime) -> str:
        return "\n".join(line.plain for line in frame(picture, view, 80, 24, now, "here")[-3:])

    assert "talk is HIGH" in last_lines(NOW)
    assert "Not current: no right" in last_lines(NOW + timedelta(seconds=MESSAGE_SECONDS))
