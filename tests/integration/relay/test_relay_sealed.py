"""A callback whose secrets were sealed with its job, from the submission to the receiver."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from klipstream_relay.signing import new_secret
from klipstream_sealing import KeyRing, SealedCallback, SealedFields, seal
from klipwebhook.certificate import make_certificate
from klipwebhook.statuses import make_queue

TOKEN = "opensesame-4711-plain"


async def test_a_sealed_callback_is_signed_and_authorised_and_its_secrets_are_kept_nowhere(
    make_stage: Any, tmp_path: Path
) -> None:
    ring = KeyRing.new(datetime.now(UTC))
    (tmp_path / "ring.json").write_text(ring.to_json())
    certificate = make_certificate(tmp_path)
    stage = await make_stage(
        {"mine": "ok", "evil": "ok"}, certificate=certificate, KLIPSTREAM_CA_FILE=str(certificate),
        KLIPSTREAM_SEALING_RING=str(tmp_path / "ring.json"), KLIPSTREAM_LOG_LEVEL="DEBUG",
    )  # fmt: skip
    await make_queue(stage.client, stage.namespace, "default")
    secret = new_secret()

    async def finished(name: str, receiver: str, hosts: str, job_id: str) -> None:
        fields = SealedFields(callback=SealedCallback((hosts,), secret, TOKEN))
        job = stage.job(name)
        await job.submit(
            jobId=job_id, sealed=seal(fields.to_json(), ring.public, stage.namespace, "film-1"),
            callback={"url": stage.receivers.url(receiver), "events": ["job.succeeded"]},
        )  # fmt: skip
        await job.accept()
        await job.finish()
        await stage.announced(job)

    await finished("film", "mine", "127.0.0.1", "film-1")
    (received,) = stage.receivers.received("mine")
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert Webhook(secret).verify(received.raw, headers)["job_id"] == "film-1"

    # Whoever reads the job copies its ciphertext: for another host, and for another job.
    await finished("stolen-for-a-host", "evil", "hooks.example.com", "film-1")
    for number in range(2, 9):
        await finished(f"stolen-for-job-{number}", "mine", "127.0.0.1", f"film-{number}")
    await finished("film-again", "mine", "127.0.0.1", "film-1")
    assert len(stage.receivers.received("mine")) == 2, "other jobs' refusals say nothing of the endpoint"
    assert "taken to be down" not in stage.relay.said()
    assert stage.receivers.received("evil") == []
    assert {each["reason"] for each in stage.relay.deliveries("--state", "dead")} == {"SealedRefused"}

    kept = [path.read_bytes() for path in tmp_path.glob("ledger.db*")]
    assert any(b"film-1" in each for each in kept), "this is where deliveries are kept"
    for plain in (TOKEN, secret):
        assert not any(plain.encode() in each for each in kept)
        assert plain not in stage.relay.said()
