"""Whose Secrets the relay uses, for whom, and what it does with sealed ones: against the real API server."""

import base64
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from klipstream_api import SecretKeyRef
from klipstream_kube import SECRETS, Client, load_connection
from klipstream_relay.sealed import ANALYSIS_JOBS, SealedCallbacks
from klipstream_relay.secrets import CACHED_SECONDS, CallbackSecrets
from klipstream_relay.sender import CredentialsRefused
from klipstream_relay.signing import new_secret, parse_secrets
from klipstream_sealing import KeyRing, RingFile, SealedCallback, SealedFields, seal

URL = "https://hooks.example.com/analysis"
SIGNING = SecretKeyRef(name="shop", key="signing")
TOKEN = SecretKeyRef(name="shop", key="token")
MEANT = {"analysis.klipstream.io/callback": "true"}
HOSTS = {"analysis.klipstream.io/allowed-hosts": "other.example.org, *.example.com"}


@dataclass(frozen=True)
class Endpoint:
    namespace: str
    signing: SecretKeyRef | None = SIGNING
    token: SecretKeyRef | None = None


@pytest.fixture
async def client(control_plane) -> AsyncIterator[Client]:
    async with Client(load_connection(str(control_plane.kubeconfig))) as connected:
        yield connected


async def put(client: Client, namespace: str, labels: dict[str, str] = MEANT, hosts: dict[str, str] = HOSTS,
              **data: str) -> None:  # fmt: skip
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": "shop", "namespace": namespace, "labels": labels, "annotations": hosts}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
    await client.apply(SECRETS, body, field_manager="test", force=True)


async def refusal(secrets: CallbackSecrets, endpoint: Endpoint, url: str = URL) -> CredentialsRefused:
    with pytest.raises(CredentialsRefused) as refused:
        await secrets.credentials(endpoint, url)
    return refused.value


async def test_a_marked_secret_signs_and_authorises_for_its_hosts(client: Client, namespace: str) -> None:
    old, new = new_secret(), new_secret()
    await put(client, namespace, signing=f"{new}\n{old}\n", token="opaque\n")
    found = await CallbackSecrets(client).credentials(Endpoint(namespace, SIGNING, TOKEN), URL)
    assert found.signing == parse_secrets(f"{new} {old}")
    assert found.bearer_token == "opaque"
    assert "opaque" not in repr(found)


async def test_without_a_reference_nothing_is_read(client: Client) -> None:
    found = await CallbackSecrets(client).credentials(Endpoint("no-such-namespace", None, None), URL)
    assert (found.signing, found.bearer_token) == ((), None)


@pytest.mark.parametrize("labels", [{}, {"analysis.klipstream.io/callback": "false"}])
async def test_a_secret_that_is_not_marked_is_not_used(client: Client, namespace: str, labels: dict[str, str]) -> None:
    await put(client, namespace, labels, signing=new_secret())
    found = await refusal(CallbackSecrets(client), Endpoint(namespace))
    assert found.reason == "SecretRefused"
    assert 'analysis.klipstream.io/callback="true"' in found.message


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        ({}, URL),
        ({"analysis.klipstream.io/allowed-hosts": ""}, URL),
        ({"analysis.klipstream.io/allowed-hosts": "*"}, URL),
        ({"analysis.klipstream.io/allowed-hosts": "example.com"}, URL),
        ({"analysis.klipstream.io/allowed-hosts": "hooks.example.com"}, "https://hooks.example.com.evil.net/"),
        ({"analysis.klipstream.io/allowed-hosts": "*.example.com"}, "https://evilexample.com/"),
        ({"analysis.klipstream.io/allowed-hosts": "hooks.example.com"}, "https://evil.net/?hooks.example.com"),
    ],
)
async def test_a_secret_is_not_used_for_other_hosts_than_its_own(
    client: Client, namespace: str, hosts: dict[str, str], url: str
) -> None:
    """No submitter can have another's Secret sent to a URL of his own."""
    await put(client, namespace, hosts=hosts, signing=new_secret())
    assert (await refusal(CallbackSecrets(client), Endpoint(namespace), url)).reason == "SecretRefused"


async def test_what_is_missing_or_makes_no_sense_is_said_without_repeating_it(client: Client, namespace: str) -> None:
    secrets = CallbackSecrets(client)
    assert (await refusal(secrets, Endpoint(namespace))).reason == "SecretMissing"
    await put(client, namespace, signing="hunter2-hunter2", token="two words")
    secrets = CallbackSecrets(client)
    assert "has no key other" in (
        await refusal(secrets, Endpoint(namespace, SecretKeyRef(name="shop", key="other")))
    ).message  # fmt: skip
    for endpoint in (Endpoint(namespace), Endpoint(namespace, None, TOKEN)):
        found = await refusal(secrets, endpoint)
        assert found.reason == "BadSecret"
        assert "hunter2" not in found.message
        assert "two words" not in found.message


async def test_a_changed_secret_counts_after_half_a_minute_and_is_read_once_until_then(
    client: Client, namespace: str
) -> None:
    first, second = new_secret(), new_secret()
    clock = [0.0]
    reads: list[str] = []
    client.on_request = lambda verb, resource, code, seconds: reads.append(f"{verb} {resource}")
    secrets = CallbackSecrets(client, clock=lambda: clock[0])
    await put(client, namespace, signing=first)
    for clock[0] in (0.0, CACHED_SECONDS - 1):
        assert (await secrets.credentials(Endpoint(namespace), URL)).signing == parse_secrets(first)
    await put(client, namespace, signing=second)
    assert (await secrets.credentials(Endpoint(namespace), URL)).signing == parse_secrets(first)
    clock[0] = CACHED_SECONDS
    assert (await secrets.credentials(Endpoint(namespace), URL)).signing == parse_secrets(second)
    assert reads.count("get secrets") == 2


async def test_an_api_server_that_does_not_answer_is_no_reason_to_give_up(namespace: str) -> None:
    from klipstream_kube import Connection

    async with Client(Connection("http://127.0.0.1:9")) as away:
        found = await refusal(CallbackSecrets(away), Endpoint(namespace))
    assert (found.reason, found.retryable) == ("SecretUnavailable", True)


# --- sealed ------------------------------------------------------------------------------------------------------

RING = KeyRing.new(datetime.now(UTC))


@dataclass(frozen=True)
class Delivery:
    namespace: str
    job_uid: str
    url: str = URL
    id: str = "msg_1"
    endpoint: str = "callback/ns/hooks.example.com:443/0"
    body: bytes = b"{}"


async def submitted(client: Client, namespace: str, fields: SealedFields, *, sealed_id: str | None = None) -> str:
    job_id = str(uuid.uuid4())
    sealed = seal(fields.to_json(), RING.public, namespace, sealed_id or job_id)
    spec = {"videoUrl": "https://example.com/v.mp4", "jobId": job_id, "sealed": sealed, "callback": {"url": URL}}
    job = {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": "film"}}
    created = await client.create(ANALYSIS_JOBS, job | {"spec": spec}, namespace)
    return str(created["metadata"]["uid"])


@pytest.fixture
def sealed(custom_resources, client: Client, tmp_path: Path) -> SealedCallbacks:
    (tmp_path / "ring.json").write_text(RING.to_json())

    async def name_of(uid: str) -> str | None:
        return "film" if uid else None

    return SealedCallbacks(client, RingFile(tmp_path / "ring.json"), name_of)


async def test_what_a_job_sealed_signs_and_authorises_its_callback(
    sealed: SealedCallbacks, client: Client, namespace: str
) -> None:
    secret = new_secret()
    fields = SealedFields(callback=SealedCallback(("*.example.com",), secret, "opaque"))
    uid = await submitted(client, namespace, fields)
    found = await sealed.credentials(Delivery(namespace, uid))
    assert (found.signing, found.bearer_token) == (parse_secrets(secret), "opaque")
    assert secret not in repr(sealed)

    await client.delete(ANALYSIS_JOBS, "film", namespace)
    assert (await sealed.credentials(Delivery(namespace, uid))).bearer_token == "opaque", "job.deleted is signed, too"


@pytest.mark.parametrize(
    ("fields", "url", "sealed_id", "reason"),
    [
        (SealedFields(callback=SealedCallback(("hooks.example.com",), None, "t")), "https://evil.net/", None,
         "SealedRefused"),
        (SealedFields(callback=SealedCallback(("*.example.com",), None, "t")), URL, "another", "SealedRefused"),
        (SealedFields(callback=SealedCallback(("*.example.com",), "whsec_short", None)), URL, None, "SealedRefused"),
        (SealedFields(callback=SealedCallback(("*.example.com",), None, "a\r\nb")), URL, None, "SealedRefused"),
    ],
)  # fmt: skip
async def test_what_was_sealed_for_others_is_not_used(
    sealed: SealedCallbacks, client: Client, namespace: str, fields: SealedFields, url: str, sealed_id: str | None,
    reason: str,
) -> None:  # fmt: skip
    uid = await submitted(client, namespace, fields, sealed_id=sealed_id)
    with pytest.raises(CredentialsRefused) as refused:
        await sealed.credentials(Delivery(namespace, uid, url))
    assert refused.value.reason == reason


async def test_a_job_that_is_another_by_now_gives_nothing(
    sealed: SealedCallbacks, client: Client, namespace: str
) -> None:
    await submitted(client, namespace, SealedFields(callback=SealedCallback(("*.example.com",), None, "t")))
    with pytest.raises(CredentialsRefused) as refused:
        await sealed.credentials(Delivery(namespace, "another-uid"))
    assert (refused.value.reason, refused.value.retryable) == ("JobGone", False)


async def test_a_job_that_sealed_parameters_only_is_announced_unsigned(
    sealed: SealedCallbacks, client: Client, namespace: str
) -> None:
    uid = await submitted(client, namespace, SealedFields(params={"apiKey": "x"}))
    found = await sealed.credentials(Delivery(namespace, uid))
    assert (found.signing, found.bearer_token) == ((), None)
