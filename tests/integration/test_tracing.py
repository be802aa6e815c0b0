"""One trace from submission to webhook: gateway, operator, worker and relay, with a collector that reads real OTLP."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from klipfake.ports import free_port
from klipfake.processes import Operator, Process
from klipfake.world import World, playing
from klipgate.process import Gateway
from klipstream_service.trace_context import parse
from klipwebhook.stage import Receivers, Relay

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
LEASE_SECONDS = "120"


class Collector:
    """Takes what an OpenTelemetry collector takes, on a thread of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[tuple[str, Any]] = []
        """With the name of the service that sent each."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def named(self, trace: str) -> dict[str, Any]:
        """The spans of a trace by name, the last of each."""
        return {span.name: span for _, span in self.spans if span.trace_id.hex() == trace}

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._loop.run_forever()

    async def _take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(said["service.name"], span) for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class Traced:
    """Everything, traced."""

    def __init__(self, world: World, gateway: Gateway, receivers: Receivers, collector: Collector) -> None:
        self.world, self.gateway, self.receivers, self.collector = world, gateway, receivers, collector

    def until(self, condition: Callable[[], object], what: str) -> None:
        self.world.until(lambda: bool(condition()), what)

    def worker_environment(self, number: int) -> dict[str, str]:
        jobs = sorted(self.world.items("jobs"), key=lambda each: each["metadata"]["name"])
        container = jobs[number]["spec"]["template"]["spec"]["containers"][0]
        return {entry["name"]: entry.get("value", "") for entry in container["env"]}


@pytest.fixture
def traced(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[Traced]:
    collector = Collector()
    environment = {"KLIPSTREAM_TRACING_ENDPOINT": f"http://127.0.0.1:{collector.port}",
                   "KLIPSTREAM_LEASE_SECONDS": LEASE_SECONDS}  # fmt: skip
    kubeconfig = control_plane.kubeconfig
    receivers = Receivers(tmp_path, good="ok")
    receivers.listen()
    operator = Operator(kubeconfig, tmp_path / "operator.log", namespace, **environment)
    gateway = Gateway(kubeconfig, tmp_path, namespace, **environment)
    relay = Relay(kubeconfig, tmp_path, namespace, **environment)
    kubelet = Process("klipfake.kubelet", kubeconfig, tmp_path / "kubelet.log")
    try:
        with playing(kubectl, namespace, operator, kubelet) as world:
            endpoint = {"name": "good", "url": receivers.url("good")}
            world.queue(maxRetries=1, retryDelaysSeconds=[1], endpoints=[endpoint])
            relay.start()
            gateway.start()
            gateway.wait()
            yield Traced(world, gateway, receivers, collector)
    finally:
        gateway.stop()
        relay.stop()
        receivers.process.kill()
        collector.close()


def test_one_trace_leads_from_a_submission_over_rest_through_attempts_to_the_webhooks(traced: Traced) -> None:
    body = {"video_url": "https://example.com/v.mp4", "params": {"fake_exits": "1,0"}}
    with traced.gateway.client("submit") as client:
        answer: httpx.Response = client.post("/api/v1/analysis", json=body, headers={"traceparent": CALLER})
    assert answer.status_code == 202, answer.text
    traced.until(lambda: "job.succeeded" in traced.receivers.types("good"), "its end is announced")
    wanted = {"submission", "admission wait", "attempt", "analysis", "webhook"}
    traced.until(lambda: wanted <= traced.collector.named(TRACE).keys(), "all spans were collected")
    found = traced.collector.named(TRACE)
    assert {(service, span.name) for service, span in traced.collector.spans if span.trace_id.hex() == TRACE} >= {
        ("klipstream-gateway", "submission"), ("klipstream-operator", "attempt"), ("klipstream-relay", "webhook"),
    }  # fmt: skip
    assert found["submission"].parent_span_id.hex() == "00f067aa0ba902b7"
    assert found["analysis"].parent_span_id == found["submission"].span_id
    attempts = [span for _, span in traced.collector.spans if span.name == "attempt"]
    assert {span.parent_span_id for span in attempts} == {found["analysis"].span_id}

    told = [parse(traced.worker_environment(number)["TRACEPARENT"]) for number in (0, 1)]
    assert {each.span_id for each in told if each is not None} == {int(span.span_id.hex(), 16) for span in attempts}
    assert {f"{each.trace_id:032x}" for each in told if each is not None} == {TRACE}

    for received in traced.receivers.received("good"):
        headers = {name.lower(): value for name, value in received.headers.items()}
        sent = parse(headers["traceparent"])
        assert sent is not None
        assert f"{sent.trace_id:032x}" == TRACE
        traced.until(lambda sent=sent: f"{sent.span_id:016x}" in _ids(traced), "its span was collected")


def _ids(traced: Traced) -> set[str]:
    return {span.span_id.hex() for _, span in traced.collector.spans if span.name == "webhook"}


def test_kubectl_users_give_their_place_in_a_trace_by_an_annotation(traced: Traced) -> None:
    manifest = {
        "apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob",
        "metadata": {"name": "by-kubectl", "annotations": {"analysis.klipstream.io/traceparent": CALLER}},
        "spec": {"videoUrl": "https://example.com/v.mp4"},
    }  # fmt: skip
    traced.world.apply(manifest)
    traced.world.job("untraced")
    traced.until(lambda: "analysis" in traced.collector.named(TRACE), "its spans were collected")
    assert traced.collector.named(TRACE)["analysis"].parent_span_id.hex() == "00f067aa0ba902b7"

    def of_its_own() -> list[Any]:
        return [span for _, span in traced.collector.spans if span.name == "analysis" and not span.parent_span_id]

    traced.until(of_its_own, "a job without it has a trace of its own")
    assert of_its_own()[0].trace_id.hex() != TRACE


def test_nobody_waits_for_a_collector_that_is_away(
    control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    operator = Operator(
        control_plane.kubeconfig, tmp_path / "operator.log", namespace,
        KLIPSTREAM_TRACING_ENDPOINT=away, KLIPSTREAM_LEASE_SECONDS=LEASE_SECONDS,
    )  # fmt: skip
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as world:
        world.queue()
        world.job("goes-on")
        world.until_phase("goes-on", "Succeeded")
        assert operator.running
        assert operator.stop() == 0, operator.said()[-2000:]
