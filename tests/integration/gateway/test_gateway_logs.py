"""Logs through the gateway: from a node while the pod is there, then from the archive that the operator keeps."""

from pathlib import Path

import pytest

from klipfake.node import written
from klipgate.process import Gateway

LOGS = True


def failed(stack, *, log_bytes: int = 300) -> str:
    """A job whose only attempt failed, and whose log is archived."""
    job_id = stack.submit(params={"fake_exits": "1", "fake_log_bytes": str(log_bytes)}, max_retries=0)
    stack.until(job_id, "failed")

    def archived() -> bool:
        attempts = stack.reader.get(f"/api/v1/jobs/{job_id}").json()["attempts"]
        return bool(attempts[0]["log_archived"])

    stack.world.until(archived, "the log is archived")
    return job_id


def log_of(stack, job_id: str, query: str = ""):
    return stack.reader.get(f"/api/v1/jobs/{job_id}/logs{query}")


def without_pods(stack, job_id: str) -> None:
    """Delete the job's pods, as Kubernetes' own garbage collection does one day."""
    (uid,) = [each["metadata"]["uid"] for each in stack.world.items("aj") if each["spec"]["jobId"] == job_id]
    selector = f"analysis.klipstream.io/job-uid={uid}"
    stack.world.kubectl("delete", "pods", "-l", selector, "--force", "--grace-period=0", "--wait=true")


@pytest.fixture(scope="module")
def archived_job(stack) -> str:
    job_id = failed(stack)
    without_pods(stack, job_id)
    return job_id


def test_a_running_workers_last_lines_are_read_from_its_pod(stack):
    job_id = stack.submit(params={"fake_seconds": "600", "fake_log_bytes": "300"})
    stack.world.until(lambda: log_of(stack, job_id).status_code == 200, "the log of a running worker")
    answer = log_of(stack, job_id, "?tail=2")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "".join(written(1, 300).decode().splitlines(keepends=True)[-2:])
    stack.submitter.post(f"/api/v1/jobs/{job_id}/cancel")


def test_the_log_of_a_failed_attempt_outlives_its_pod(stack, archived_job: str):
    assert log_of(stack, archived_job).text == written(1, 300).decode()
    assert log_of(stack, archived_job, "?attempt=1&tail=1").text == written(1, 300).decode().splitlines()[-1]


def test_an_attempt_that_never_was_has_no_log(stack, archived_job: str):
    answer = log_of(stack, archived_job, "?attempt=7")
    assert (answer.status_code, answer.json()["code"]) == (404, "log-not-found")


def test_another_tenant_is_not_shown_the_archived_log(stack, archived_job: str):
    with stack.gateway.client("blue") as blue:
        assert blue.get(f"/api/v1/jobs/{archived_job}/logs").status_code == 404


def test_an_archived_log_that_a_worker_blew_up_is_cut_to_its_end(stack):
    job_id = failed(stack)
    without_pods(stack, job_id)
    (path,) = stack.gateway.log.parent.glob(f"results/jobs/{job_id}/attempts/1/worker.log")
    path.write_bytes(b"x" * 3_000_000 + b"\nend\n")
    answer = log_of(stack, job_id)
    assert answer.text.endswith("x\nend\n")
    assert len(answer.text) == 1_048_576


@pytest.mark.parametrize("change", ["another place of the queue", "no claim here"])
def test_a_place_that_the_gateway_may_not_or_cannot_read_is_named_and_not_read(
    stack, control_plane, archived_job: str, change: str, tmp_path: Path
):
    """A status names the URL; what is read must also be what the queue's administrator named, and mounted here."""
    url = stack.world.get("aq", "default")["spec"]["results"]["url"]
    changed = {"url": "file:///etc"} if change == "another place of the queue" else {"url": url, "claimName": "results"}
    gateway = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace)
    stack.world.change("aq", "default", results=changed)
    gateway.start()
    try:
        gateway.wait()
        with gateway.client("read") as reader:
            answer = reader.get(f"/api/v1/jobs/{archived_job}/logs")
        assert (answer.status_code, answer.json()["code"]) == (404, "log-not-found")
        assert f"archived at {url}/jobs/" in answer.json()["detail"]
    finally:
        gateway.kill()
        stack.world.change("aq", "default", results={"url": url, "claimName": None})
