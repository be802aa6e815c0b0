"""The results store in a folder and in a bucket of a real S3 server."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from klipstream_results import ResultStore, ResultStoreError, open_store


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = dict(os.environ)
    os.environ.update(credentials | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"})
    try:
        yield f"http://{host}:{port}"
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/results")
    request.getfixturevalue("s3")
    import s3fs

    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"], skip_instance_cache=True).mkdir(bucket)
    return open_store(f"s3://{bucket}/analysis")


def test_attempts_do_not_overwrite_each_other(store: ResultStore) -> None:
    first = store.write_result("job", 1, "result.json", b"one")
    second = store.write_result("job", 2, "result.json", b"two")
    assert first != second
    assert store.read_result("job", 1, "result.json") == b"one"
    assert store.attempts("job") == [1, 2]
    assert store.jobs() == ["job"]


def test_checkpoints_outlive_attempts_and_are_replaced(store: ResultStore) -> None:
    assert store.load_checkpoint("job", "download") is None
    store.save_checkpoint("job", "download", b"1")
    store.save_checkpoint("job", "download", b"2")
    assert store.load_checkpoint("job", "download") == b"2"


def test_a_deleted_job_leaves_nothing(store: ResultStore) -> None:
    store.write_result("job", 1, "result.json", b"x")
    store.write_result("other", 1, "result.json", b"y")
    store.delete_job("job")
    store.delete_job("job")
    assert store.jobs() == ["other"]


def test_a_deleted_result_leaves_the_others(store: ResultStore) -> None:
    store.write_result("job", 1, "worker.log", b"x")
    store.write_result("job", 1, "result.json", b"y")
    store.write_result("job", 2, "worker.log", b"z")
    for attempt in (1, 2, 2, 3):
        store.delete_result("job", attempt, "worker.log")
    assert store.attempts("job") == [1]
    assert store.read_result("job", 1, "result.json") == b"y"
    with pytest.raises(ResultStoreError):
        store.read_result("job", 1, "worker.log")


def test_a_result_that_is_not_there_is_named(store: ResultStore) -> None:
    with pytest.raises(ResultStoreError, match="attempts/3/result"):
        store.read_result("job", 3, "result.json")


@pytest.mark.parametrize("job_id", ["../etc", "a/b", "", ".hidden"])
def test_no_id_leads_elsewhere(store: ResultStore, job_id: str) -> None:
    with pytest.raises(ResultStoreError, match="cannot be part of a path"):
        store.write_result(job_id, 1, "result.json", b"x")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultStoreError, match="cannot write"):
        open_store(f"file://{tmp_path}/file").write_result("job", 1, "result.json", b"x")


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(ResultStoreError, match="nowhere://"):
        open_store("nowhere://x")
