"""A renewed certificate is taken up by the same context, another authority by the workers to come."""

import ssl
from pathlib import Path

import pytest

from klipstream_operator.certificate import Authority, Certificate
from klipwebhook.certificate import make_certificate


def pair(folder: Path) -> tuple[Path, Path]:
    """PEM with key and certificate, as both."""
    folder.mkdir()
    both = make_certificate(folder)
    return both, both


def test_what_did_not_change_is_not_loaded_again(tmp_path: Path) -> None:
    certificate = Certificate(*pair(tmp_path / "a"))
    assert certificate.look() is False


def test_a_renewed_pair_is_taken_up(tmp_path: Path) -> None:
    held, key = pair(tmp_path / "a")
    certificate = Certificate(held, key)
    context = certificate.context
    held.write_bytes(pair(tmp_path / "b")[0].read_bytes())
    assert certificate.look() is True
    assert certificate.context is context


def test_a_broken_pair_is_refused_and_looked_at_again(tmp_path: Path) -> None:
    held, key = pair(tmp_path / "a")
    certificate, whole = Certificate(held, key), held.read_bytes()
    held.write_bytes(b"half of it")
    with pytest.raises(ssl.SSLError):
        certificate.look()
    held.write_bytes(whole)
    assert certificate.look() is False, "it is what is in use"


def test_another_authority_is_told_to_the_next_worker(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("first")
    authority = Authority(file)
    assert authority.pem() == "first"
    file.write_text("second")
    assert authority.pem() == "second"
    file.unlink()
    assert authority.pem() == "second", "while it is being replaced"
