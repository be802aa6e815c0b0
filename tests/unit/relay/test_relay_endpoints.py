"""Who is told, and which endpoints stand and fall together."""

from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue, SecretKeyRef, WebhookEvent
from klipstream_relay.deliveries import Delivery
from klipstream_relay.directory import Directory, endpoint_from, facts_of
from klipstream_relay.endpoints import callback_key, recipients

HOOK = SecretKeyRef(name="hook", key="signing")
TEMPLATE = {"spec": {"containers": [{"name": "w", "image": "i"}]}}


def queue(*endpoints: dict[str, Any]) -> AnalysisQueue:
    spec = {"workerTemplate": TEMPLATE, "endpoints": list(endpoints)}
    return AnalysisQueue.from_wire({"metadata": {"name": "q", "namespace": "n"}, "spec": spec})


def job(**spec: Any) -> AnalysisJob:
    return AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": "u"},
        "spec": {"videoUrl": "https://example.com/v.mp4"} | spec,
        "status": {"queueName": "q"},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "other", "same"),
    [
        ("paths of one host", callback_key("n", "https://a.example/other?x=1", HOOK, None), True),
        ("however the host is written", callback_key("n", "https://A.example:443/", HOOK, None), True),
        ("another host", callback_key("n", "https://b.example/hook", HOOK, None), False),
        ("another port", callback_key("n", "https://a.example:444/hook", HOOK, None), False),
        ("another scheme", callback_key("n", "http://a.example:443/hook", HOOK, None), False),
        ("another namespace, whose Secrets are others", callback_key("m", "https://a.example/hook", HOOK, None), False),
        ("another Secret", callback_key("n", "https://a.example/hook", None, None), False),
        ("a token as well", callback_key("n", "https://a.example/hook", HOOK, HOOK), False),
    ],
)
def test_callbacks_share_an_endpoint_by_namespace_origin_and_secrets(rule: str, other: str, same: bool) -> None:
    assert (callback_key("n", "https://a.example/hook", HOOK, None) == other) is same, rule


def test_a_job_s_own_callback_and_the_queue_s_endpoints_are_told_what_they_asked_for() -> None:
    found = recipients(
        job(callback={"url": "https://a.example/hook", "events": ["job.failed"]}),
        queue({"name": "e", "url": "https://b.example/hook", "tokenRef": {"name": "hook", "key": "signing"}}),
    )
    assert [(each.url, each.events) for each in found] == [
        ("https://a.example/hook", {WebhookEvent.FAILED}),
        ("https://b.example/hook", set(WebhookEvent)),
    ]
    assert found[1].endpoint.key == "queue/n/q/e"
    assert found[1].endpoint.token == HOOK
    assert recipients(job(), None) == ()


def test_a_url_that_cannot_be_parsed_has_an_endpoint_of_its_own() -> None:
    (found,) = recipients(job(callback={"url": "https://a.example:99999/hook"}), None)
    assert "/invalid/" in found.endpoint.key


def test_the_directory_follows_the_queues() -> None:
    directory = Directory()
    directory.put_queue(queue({"name": "e", "url": "https://old.example/"}))
    delivery = Delivery("msg", "queue/n/q/e", "https://old.example/", "job.failed", "u", "n", b"", 0.0)
    directory.put_queue(queue({"name": "e", "url": "https://new.example/"}, {"name": "f", "url": "https://f.example/"}))
    assert directory.url(delivery) == "https://new.example/", "an endpoint that moved is told at its new place"
    assert len(directory.recipients(job())) == 2
    directory.put_queue(queue({"name": "f", "url": "https://f.example/"}))
    assert (directory.url(delivery), directory.endpoint("queue/n/q/e")) == (None, None)
    directory.remove_queue(("n", "q"))
    assert directory.recipients(job()) == ()
    assert directory.endpoint("queue/n/q/f") is None


def test_an_endpoint_is_read_back_from_the_ledger_as_it_was() -> None:
    (found,) = recipients(job(callback={"url": "https://a.example/", "secretRef": {"name": "hook", "key": "k"}}), None)
    assert endpoint_from(found.endpoint.key, facts_of(found.endpoint)) == found.endpoint
