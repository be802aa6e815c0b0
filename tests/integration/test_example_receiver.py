"""The receiver of the examples, as a process, with deliveries of the relay's own sender."""

import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from klipfake.ports import free_port
from klipfake.processes import Process
from klipstream_netguard import PlainHttp, Rules
from klipstream_relay.sender import Credentials, Sendable, Sender
from klipstream_relay.signing import new_secret, parse_secrets

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "receiver"
RULES = Rules.of(allowed_networks=["127.0.0.1/32"], plain_http=PlainHttp.LISTED)
OLD, NEW = new_secret(), new_secret()


@dataclass(frozen=True)
class Delivery:
    url: str
    id: str
    body: bytes
    endpoint: str = "queue/ns/announced/receiver"
    namespace: str = "ns"
    job_uid: str = "uid"


@dataclass
class Receiver:
    """The running example, and a relay's sender that knows `secrets` and `token`."""

    port: int
    secrets: str = NEW
    token: str = "opaque"
    now: float | None = None

    async def deliver(self, message_id: str, **webhook: Any) -> tuple[bool, int | None]:
        async def credentials(_: Sendable) -> Credentials:
            return Credentials(parse_secrets(self.secrets), self.token)

        body = json.dumps({"job_id": "film", "status": "processing", "sequence": 1} | webhook).encode()
        async with Sender(RULES, credentials, now=lambda: self.now or time.time()) as sender:
            outcome = await sender.send(Delivery(f"http://127.0.0.1:{self.port}/hook", message_id, body))
        return outcome.delivered, outcome.code

    def known(self) -> dict[str, Any]:
        return dict(httpx.get(f"http://127.0.0.1:{self.port}/jobs", trust_env=False).json())


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    port = free_port()
    process = Process(
        "receiver", Path("unused"), tmp_path / "receiver.log", WEBHOOK_SECRET=f"{NEW} {OLD}", WEBHOOK_TOKEN="opaque",
        RECEIVER_DATABASE=str(tmp_path / "receiver.db"), PORT=str(port), PYTHONPATH=str(EXAMPLE),
    )  # fmt: skip
    process.start()
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/jobs", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, process.said()
                assert process.running, process.said()
                time.sleep(0.1)
        yield Receiver(port)
    finally:
        process.stop()


async def test_a_webhook_is_taken_once_however_often_it_is_delivered(receiver: Receiver) -> None:
    for _ in range(3):
        assert await receiver.deliver("msg_1") == (True, 204)
    assert await receiver.deliver("msg_2", sequence=2, status="completed") == (True, 204)
    known = receiver.known()
    assert known["webhooks"] == 2
    assert [job["status"] for job in known["jobs"]] == ["completed"]


async def test_an_older_webhook_that_comes_late_changes_nothing(receiver: Receiver) -> None:
    assert (await receiver.deliver("msg_2", sequence=2, status="completed"))[0]
    assert (await receiver.deliver("msg_1", sequence=1, status="processing"))[0]
    assert [job["status"] for job in receiver.known()["jobs"]] == ["completed"]


async def test_what_is_not_signed_authorised_and_recent_is_refused(receiver: Receiver) -> None:
    receiver.secrets = new_secret()
    assert await receiver.deliver("msg_1") == (False, 401)
    receiver.secrets, receiver.token = NEW, "guessed"
    assert await receiver.deliver("msg_1") == (False, 401)
    receiver.token, receiver.now = "opaque", time.time() - 600
    assert await receiver.deliver("msg_1") == (False, 401), "a webhook that was recorded cannot be sent again later"
    receiver.now = None
    assert receiver.known() == {"webhooks": 0, "jobs": []}
    assert (await receiver.deliver("msg_1"))[0]


@pytest.mark.parametrize(
    "secrets", [OLD, NEW, f"{NEW} {OLD}", f"{new_secret()} {NEW}"], ids=["old", "new", "both", "unknown and new"]
)
async def test_secrets_are_replaced_without_losing_a_webhook(receiver: Receiver, secrets: str) -> None:
    receiver.secrets = secrets
    assert await receiver.deliver("msg_1") == (True, 204)


def test_the_example_needs_nothing_but_flask_and_standardwebhooks() -> None:
    wanted = {line.split(">")[0] for line in (EXAMPLE / "requirements.txt").read_text().split()}
    assert wanted == {"flask", "standardwebhooks"}
    imported = {line.split()[1].split(".")[0] for line in (EXAMPLE / "receiver.py").read_text().splitlines()
                if line.startswith(("import ", "from "))}  # fmt: skip
    assert imported - set(sys.stdlib_module_names) == wanted


def test_the_example_s_manifest_is_taken_by_the_api_server(kubectl, custom_resources: None, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", str(EXAMPLE / "endpoint.yaml"))
    (secret,) = (
        each for each in yaml.safe_load_all((EXAMPLE / "endpoint.yaml").read_text()) if each["kind"] == "Secret"
    )
    assert parse_secrets(secret["stringData"]["signing"])
