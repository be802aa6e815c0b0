"""Signatures, verified by a library that is not ours."""

import base64
import json
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from klipstream_relay.signing import BadSecret, SigningSecret, headers, new_secret, parse_secrets

BODY = json.dumps({"job_id": "a", "status": "processing", "title": "Größe"}, ensure_ascii=False).encode()


def test_another_library_verifies_what_is_signed() -> None:
    secret = new_secret()
    sent = headers(parse_secrets(secret), "msg_1", int(time.time()), BODY)
    assert Webhook(secret).verify(BODY, sent) == json.loads(BODY)


def test_the_specification_s_own_example_is_signed_alike() -> None:
    secret = SigningSecret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    sent = headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("known", [0, 1])
def test_while_a_secret_is_replaced_the_old_and_the_new_one_verify(known: int) -> None:
    both = [new_secret(), new_secret()]
    sent = headers(parse_secrets("\n".join(both)), "msg_1", int(time.time()), BODY)
    assert Webhook(both[known]).verify(BODY, sent)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "webhook-signature", "body"])
def test_nothing_that_is_signed_can_be_changed(changed: str) -> None:
    secret = new_secret()
    now = int(time.time())
    sent = headers(parse_secrets(secret), "msg_1", now, BODY)
    other = {"webhook-id": "msg_2", "webhook-timestamp": str(now + 1), "webhook-signature": "v1," + "A" * 43 + "="}
    if changed in other:
        sent[changed] = other[changed]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + (b" " if changed == "body" else b""), sent)


def test_without_a_secret_nothing_is_signed() -> None:
    assert headers([], "msg_1", 5, BODY) == {"webhook-id": "msg_1", "webhook-timestamp": "5"}


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nb", "ä", "a" * 129])
def test_an_id_that_could_be_mistaken_for_more_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        headers([], message_id, 5, BODY)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "whsec_", "whsec_???", "whsec_" + base64.b64encode(b"short").decode(),
     "whsec_" + base64.b64encode(bytes(65)).decode(), "ä", " ".join([new_secret()] * 5)],
    ids=range(8),
)  # fmt: skip
def test_a_secret_that_is_none_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadSecret) as refused:
        parse_secrets(text)
    assert text.strip() == "" or text not in str(refused.value)


def test_a_secret_does_not_show_itself() -> None:
    secret = new_secret()
    (parsed,) = parse_secrets(secret)
    assert repr(parsed) == "SigningSecret()"
