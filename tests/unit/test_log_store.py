"""Archived logs in a store that works, in one that hangs, and in one that is not there."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from klipstream_operator.log_store import LogStore, LogStoreError, Place, Unusable
from klipstream_results import open_store

HANG = """
import asyncio
from klipstream_operator.log_store import LogStore, LogStoreError, Place

async def main():
    logs = LogStore(call_seconds=1)
    for _ in range(3):
        try:
            await logs.write(Place("s3://bucket/x", "n"), "job", 1, b"log")
        except LogStoreError as error:
            print(error)
    print("threads", len(logs._threads))

asyncio.run(main())
"""


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_a_log_is_written_beside_the_results_and_removed_without_them(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    store = open_store(url)
    store.write_result("job", 2, "result.json", b"{}")
    store.save_checkpoint("job", "download", b"1")
    logs, place = LogStore(), Place(url, "n")
    assert await logs.write(place, "job", 1, b"one") == f"{url}/jobs/job/attempts/1/worker.log"
    await logs.write(place, "job", 2, b"two")
    await logs.remove(place, "job")
    await logs.remove(place, "job")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["jobs/job/attempts/2/result.json", "jobs/job/checkpoints/download.json"]
    assert not (tmp_path / "jobs/job/attempts/1").exists(), "no empty folder stays"


async def test_nothing_is_left_of_a_job_that_had_only_logs(tmp_path: Path) -> None:
    logs, place = LogStore(), Place(f"file://{tmp_path}", "n")
    await logs.write(place, "job", 1, b"one")
    await logs.remove(place, "job")
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.parametrize("url", ["file:///nowhere/at-all", "s9://bucket/x"])
async def test_a_store_that_cannot_be_used_from_here_is_told_from_one_that_fails(url: str) -> None:
    with pytest.raises(Unusable):
        await LogStore().check(Place(url, "n"))


@pytest.mark.parametrize(
    ("mounted", "namespace", "claim", "usable"),
    [
        ("n/results", "n", "results", True),
        ("n/results", "n", None, True),
        ("n/results", "n", "other", False),
        ("n/results", "m", "results", False),
        ("n/results", "m", None, False),
        (None, "n", "results", False),
        (None, "n", None, True),
    ],
)
async def test_a_path_is_taken_only_for_the_claim_that_is_mounted_there(
    tmp_path: Path, mounted: str | None, namespace: str, claim: str | None, usable: bool
) -> None:
    with contextlib.nullcontext() if usable else pytest.raises(Unusable):
        await LogStore(mounted).check(Place(f"file://{tmp_path}", namespace, claim))


async def test_a_folder_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        await LogStore().write(Place(f"file://{tmp_path}/missing", "n"), "job", 1, b"one")
    assert not (tmp_path / "missing").exists()


async def test_a_folder_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    with pytest.raises(LogStoreError, match=str(tmp_path)):
        await LogStore().write(Place(f"file://{tmp_path}", "n"), "job", 1, b"one")


def test_a_store_that_hangs_costs_two_threads_and_keeps_no_process_from_ending(silent: str) -> None:
    environment = {"AWS_ENDPOINT_URL": silent, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    # botocore alone would wait for minutes
    done = subprocess.run([sys.executable, "-c", HANG], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("did not answer within 1 s") == 3, done.stdout + done.stderr
    assert "threads 2" in done.stdout
