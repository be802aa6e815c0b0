"""Server-sent events of everything: live, and taken up where they were left."""

import json

from klipstream.event_stream import Event, EventReader


def next_job(lines, reader: EventReader) -> Event:
    for line in lines:
        if (event := reader.line(line)) is not None and event.event == "job":
            return event
    raise AssertionError("the stream ended")


def test_all_jobs_of_a_queue_are_followed_and_a_cut_stream_misses_none(stack):
    reader = EventReader()
    with stack.reader.stream("GET", "/api/v1/events?queue=paused") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        first = stack.submit(queue="paused")
        assert json.loads(next_job(lines, reader).data)["job_id"] == first
    missed = {stack.submit(queue="paused") for _ in range(3)}
    stack.world.until(lambda: all(stack.status(each)["queued_at"] for each in missed), "all are accepted")
    seen: list[str] = []
    ids: list[int] = []
    with stack.reader.stream("GET", "/api/v1/events?queue=paused", headers={"Last-Event-ID": reader.last_id}) as answer:
        lines = answer.iter_lines()
        while not missed <= set(seen):
            event = next_job(lines, reader)
            seen.append(json.loads(event.data)["job_id"])
            ids.append(int(event.id))
    assert ids == sorted(ids)


def test_a_tenant_is_told_of_its_own_jobs_only(stack):
    video = {"video_url": "https://example.com/v", "queue": "paused"}
    with (
        stack.gateway.client("red") as red,
        stack.gateway.client("blue") as blue,
        red.stream("GET", "/api/v1/events") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        theirs = blue.post("/api/v1/analysis", json=video).json()["job_id"]
        own = red.post("/api/v1/analysis", json=video).json()["job_id"]
        event = next_job(lines, EventReader())
    assert json.loads(event.data)["job_id"] == own
    assert theirs not in event.data
