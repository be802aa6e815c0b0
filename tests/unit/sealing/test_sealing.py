"""What is sealed opens where it is meant to, and nowhere else."""

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klipstream_sealing import BadFields, BadRing, CannotOpen, KeyRing, PublicKey, RingFile, SealedFields, seal
from klipstream_sealing.__main__ import main
from klipstream_sealing.manifests import ring_of_secret

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RING = KeyRing.new(NOW)
SEALED = seal(b"opensesame", RING.public, "media", "job-1")
FIELDS = {
    "params": {"apiKey": "s3cr3t"},
    "callback": {"hosts": ["hooks.example.com"], "signingSecret": "whsec_x", "bearerToken": "t"},
}


def test_what_is_sealed_opens_for_its_namespace_and_job() -> None:
    assert RING.open(SEALED, "media", "job-1") == b"opensesame"


@pytest.mark.parametrize(("namespace", "job_id"), [("other", "job-1"), ("media", "job-2"), ("media\njob", "-1")])
def test_what_is_sealed_opens_for_no_other_namespace_or_job(namespace: str, job_id: str) -> None:
    with pytest.raises(CannotOpen):
        RING.open(SEALED, namespace, job_id)


@pytest.mark.parametrize(
    "sealed",
    ["", "seal1", "seal1..", "seal2" + SEALED[5:], SEALED + "\n", SEALED[:40], SEALED[:-6], SEALED + "AAAA",
     SEALED.replace(RING.public.key_id, "0" * 16), "seal1." + RING.public.key_id + ".A",
     f"seal1.{RING.public.key_id}.{'A' * 80}", "ä" * 100],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_whole_sealed_text_does_not_open(sealed: str) -> None:
    with pytest.raises(CannotOpen):
        RING.open(sealed, "media", "job-1")


@given(st.integers(min_value=0, max_value=len(SEALED) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_character_can_be_changed(at: int, other: str) -> None:
    changed = SEALED[:at] + other + SEALED[at + 1 :]
    try:
        opened = RING.open(changed, "media", "job-1")
    except CannotOpen:
        return
    assert opened == b"opensesame"  # the last character may hold bits that are not used


def test_two_sealings_of_the_same_differ() -> None:
    assert seal(b"opensesame", RING.public, "media", "job-1") != SEALED


def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens() -> None:
    rotated = RING.rotated(NOW)
    assert rotated.public != RING.public
    assert rotated.open(SEALED, "media", "job-1") == b"opensesame"
    assert rotated.open(seal(b"x", rotated.public, "media", "job-1"), "media", "job-1") == b"x"
    with pytest.raises(CannotOpen, match="not kept"):
        RING.open(seal(b"x", rotated.public, "media", "job-1"), "media", "job-1")


def test_a_key_that_fell_out_of_the_ring_opens_nothing() -> None:
    ring = RING
    for _ in range(3):
        ring = ring.rotated(NOW, keep=3)
    assert len(ring.keys) == 3
    with pytest.raises(CannotOpen, match="not kept"):
        ring.open(SEALED, "media", "job-1")


def test_a_ring_survives_its_file_and_does_not_show_itself() -> None:
    ring = RING.rotated(NOW)
    assert KeyRing.from_json(ring.to_json()).open(SEALED, "media", "job-1") == b"opensesame"
    for key in json.loads(ring.to_json())["keys"]:
        assert key["private"] not in repr(ring) + str(ring.public)


# Keys are new in each process, so they are kept out of the tests' names.
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":"klipstream-ring1","keys":[]}', "null", "\x00",
                                  RING.to_json().replace(RING.public.key_id, "0" * 16)], ids=range(7))  # fmt: skip
def test_what_is_no_ring_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadRing) as refused:
        KeyRing.from_json(text)
    assert json.loads(RING.to_json())["keys"][0]["private"] not in str(refused.value)


def test_a_public_key_that_was_not_copied_whole_is_refused() -> None:
    text = str(RING.public)
    assert PublicKey.parse(text + "\n") == RING.public
    for broken in (text[:-1], text[:-1] + ("A" if text[-1] != "A" else "E"), text.replace("seal1", "seal2"), ""):
        with pytest.raises(ValueError, match="public key"):
            PublicKey.parse(broken)


def test_a_ring_file_is_read_again_after_a_rotation(tmp_path: Path) -> None:
    """As the kubelet changes the mount of a Secret: another file takes the name."""
    path = tmp_path / "ring.json"
    file = RingFile(path)
    with pytest.raises(CannotOpen, match="not set up"):
        file.open(SEALED, "media", "job-1")
    path.write_text(RING.to_json())
    assert file.open(SEALED, "media", "job-1") == b"opensesame"
    rotated = RING.rotated(NOW)
    (tmp_path / "new").write_text(rotated.to_json())
    os.replace(tmp_path / "new", path)
    assert file.open(seal(b"x", rotated.public, "media", "j"), "media", "j") == b"x"
    path.write_text("broken")
    with pytest.raises(CannotOpen, match="cannot be read"):
        file.open(SEALED, "media", "job-1")


# --- fields ------------------------------------------------------------------------------------------------------


def test_fields_come_back_as_they_were_and_do_not_show_themselves() -> None:
    fields = SealedFields.from_json(json.dumps(FIELDS))
    assert SealedFields.from_json(fields.to_json()) == fields
    assert json.loads(fields.to_json()) == FIELDS
    assert "s3cr3t" not in repr(fields)
    assert "whsec_x" not in repr(fields)


def test_a_sealed_url_comes_back_and_does_not_show_itself() -> None:
    fields = SealedFields.from_json('{"videoUrl": "https://example.com/v.mp4?sig=s3cr3t"}')
    assert SealedFields.from_json(fields.to_json()).video_url == "https://example.com/v.mp4?sig=s3cr3t"
    assert "s3cr3t" not in repr(fields)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=100), max_size=8))
def test_any_parameters_come_back(params: dict[str, str]) -> None:
    fields = SealedFields.from_json(json.dumps({"params": params}))
    sealed = seal(fields.to_json(), RING.public, "media", "j")
    assert SealedFields.from_json(RING.open(sealed, "media", "j")).params == params


def test_the_length_of_what_is_sealed_says_little_of_it() -> None:
    lengths = {len(SealedFields(params={"pin": "1" * n}).to_json()) for n in range(1, 200)}
    assert lengths == {256}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "JSON"), ("[]", "object"), ('{"param": {}}', "params"), ('{"params": []}', "params"),
        ('{"params": {"a": 1}}', "params"), (json.dumps({"params": {str(n): "" for n in range(33)}}), "32"),
        (json.dumps({"params": {"a": "s3cr3t" * 2000}}), "8192"), ('{"callback": {}}', "hosts"),
        ('{"callback": {"hosts": []}}', "hosts"), ('{"callback": {"hosts": ["a"], "token": "s3cr3t"}}', "bearerToken"),
        ('{"callback": {"hosts": ["a"], "bearerToken": ""}}', "bearerToken"),
        ('{"callback": {"hosts": ["a"], "signingSecret": 5}}', "signingSecret"),
        ('{"videoUrl": "s3cr3t"}', "videoUrl"), ('{"videoUrl": 5}', "videoUrl"),
        (json.dumps({"videoUrl": "https://e.com/?s3cr3t=" + "x" * 2048}), "videoUrl"),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_meant_are_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(BadFields, match=named) as refused:
        SealedFields.from_json(text)
    assert "s3cr3t" not in str(refused.value)


def test_the_largest_parameters_fit_into_the_field() -> None:
    url = "https://example.com/?".ljust(2048, "x")
    fields = SealedFields.from_json(json.dumps({"params": {"a": "x" * 8191}, "videoUrl": url}))
    assert len(seal(fields.to_json(), RING.public, "n" * 63, "j" * 63)) <= 16_384


# --- command line ------------------------------------------------------------------------------------------------


def run(*arguments: str, stdin: str = "") -> str:
    out = io.StringIO()
    assert main(arguments, io.StringIO(stdin), out, lambda: NOW) == 0
    return out.getvalue()


def test_keys_are_made_rotated_and_published_through_pipes() -> None:
    made = json.loads(run("keygen", "--namespace", "klipstream"))
    secret, published = made["items"]
    sealed = run("seal", "--public-key", published["data"]["public-key"], "--namespace", "media", "--job-id", "job-1",
                 stdin=json.dumps(FIELDS)).strip()  # fmt: skip
    secret["metadata"]["resourceVersion"] = "7"
    rotated = json.loads(run("rotate", stdin=json.dumps(secret)))
    again, published_again = rotated["items"]
    assert again["metadata"] == {"name": "klipstream-sealing", "namespace": "klipstream", "resourceVersion": "7"}
    assert published_again["data"] != published["data"]
    assert run("public", stdin=json.dumps(again)).strip() == published_again["data"]["public-key"]
    ring = ring_of_secret(json.dumps(again))[0]
    assert json.loads(ring.open(sealed, "media", "job-1")) == FIELDS


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(["rotate"], "{}"), (["rotate"], ""), (["public"], '{"metadata": {}, "data": {}}'),
     (["seal", "--public-key", "/no/such/file", "--namespace", "n", "--job-id", "j"], "{}"),
     (["seal", "--public-key", str(RING.public), "--namespace", "n", "--job-id", "j"], "s3cr3t")],
)  # fmt: skip
def test_a_command_that_cannot_be_carried_out_says_why(
    arguments: list[str], stdin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, io.StringIO(stdin), io.StringIO(), lambda: NOW) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"klipstream_sealing {arguments[0]}: ")
    assert "s3cr3t" not in said
