"""Probes and metrics as the kubelet and Prometheus read them, and log lines as JSON."""

import json
import logging

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from klipfake.ports import free_port
from klipstream_service.log_lines import JsonFormatter
from klipstream_service.pages import metrics, pages, probe


async def test_a_probe_fails_with_the_problems_and_metrics_are_shown_while_the_block_lasts() -> None:
    registry, problems, port = CollectorRegistry(), [], free_port()
    Counter("klipstream_things", "Things.", registry=registry).inc(3)
    served = {"/readyz": probe("ready", lambda: problems), "/metrics": metrics(registry)}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with pages("127.0.0.1", port, served):
            async with session.get("/readyz") as answer:
                assert (answer.status, await answer.json()) == (200, {"ready": True, "problems": []})
            problems.append("no Lease")
            async with session.get("/readyz") as answer:
                assert (answer.status, await answer.json()) == (503, {"ready": False, "problems": ["no Lease"]})
            async with session.get("/metrics") as answer:
                shown = await answer.text()
        assert "klipstream_things_total 3.0" in shown
        assert "_created" not in shown
        try:
            await session.get("/readyz")
        except aiohttp.ClientConnectionError:
            return
    raise AssertionError("it is still served")


def test_a_log_line_is_one_json_object_with_its_traceback() -> None:
    try:
        raise ValueError("no\nmore")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 0, "it %s", ("failed",), (ValueError, error, error.__traceback__)
        )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"]) == ("ERROR", "x")
    assert said["message"].startswith("it failed\nTraceback")
