"""Changes of many objects: what was done is told, whatever comes in between."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from klipanswers import Answer, cut_off, says, server, status
from klipstream_cli import completion
from klipstream_cli.changing import change_all
from klipstream_cli.checks import compared
from klipstream_cli.completion import candidates
from klipstream_cli.creating import Creation, create_all
from klipstream_cli.errors import Exit, Problem, Unreachable
from klipstream_cli.kubeconfig import Access
from klipstream_cli.session import Session
from klipstream_cli.submission import manifest, names_of
from klipstream_cli.waiting import wait_finished

URLS = [f"https://e.x/{name}.mp4" for name in "abc"]
Make = Callable[..., tuple[Session, list[dict[str, str]]]]


@pytest.fixture
def session() -> Iterator[Make]:
    """A session with a server of some answers, and what was asked."""
    open_servers = []

    def make(*answers: Answer) -> tuple[Session, list[dict[str, str]]]:
        context = server(*answers)
        url, seen = context.__enter__()
        open_servers.append(context)
        return Session(namespace_option="ns", timeout_seconds=10.0, _access=Access(url)), seen

    yield make
    for context in open_servers:
        context.__exit__(None, None, None)


def created(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": "1", "uid": name}, "spec": {}}


def bodies(batch: str = "b") -> list[dict[str, Any]]:
    return [manifest(name, {}, {"videoUrl": url}) for name, url in zip(names_of(URLS, batch), URLS, strict=True)]


def test_a_batch_has_the_same_names_whenever_it_is_submitted_and_no_other_has_them() -> None:
    assert names_of(URLS, "b") == names_of(URLS, "b")
    assert not set(names_of(URLS, "b")) & set(names_of(URLS, "c"))
    assert len(set(names_of([URLS[0]] * 3, "b"))) == 3
    assert names_of([*URLS, URLS[0]], "b")[:3] == names_of(URLS, "b"), "a longer list begins with the same names"


def test_what_is_no_url_is_named_and_no_traceback() -> None:
    with pytest.raises(Problem, match=r"https://\[abc/talk\.mp4' is no URL") as problem:
        names_of([*URLS, "https://[abc/talk.mp4"], "b")
    assert problem.value.code is Exit.USAGE


def test_an_answer_that_is_lost_in_a_batch_costs_no_job_and_makes_none_too_many(session: Make) -> None:
    """The second one was created although its answer was lost."""
    exists = says(status(409, "already exists", "AlreadyExists"), 409)
    here, seen = session(says(created("a")), cut_off, exists, says(created("b")), says(created("c")))
    made = Creation()
    create_all(here, bodies(), made)
    assert [job["metadata"]["name"] for job in made.jobs] == ["a", "b", "c"]
    assert [each["method"] for each in seen] == ["POST", "POST", "POST", "GET", "POST"]
    sent = [json.loads(each["body"])["metadata"]["name"] for each in seen if each["method"] == "POST"]
    assert sent[1] == sent[2]


def test_what_was_created_is_known_when_the_server_goes_away(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("klipstream_cli.creating.PATIENCE_SECONDS", 0.1)
    here, _ = session(says(created("a")), cut_off)
    made = Creation()
    with pytest.raises(Unreachable) as problem:
        create_all(here, bodies(), made)
    assert [job["metadata"]["name"] for job in made.jobs] == ["a"]
    assert f"{names_of(URLS, 'b')[1]} may have been submitted or not" in problem.value.hint


def test_a_first_answer_that_is_lost_is_not_waited_for(session: Make) -> None:
    here, seen = session(cut_off)
    with pytest.raises(Unreachable):
        create_all(here, bodies()[:1], Creation())
    assert len(seen) == 1


def test_a_name_that_somebody_else_has_is_refused(session: Make) -> None:
    exists = says(status(409, "already exists", "AlreadyExists"), 409)
    here, _ = session(exists, says(created("b")))
    made = Creation()
    create_all(here, bodies(), made)
    assert (len(made.jobs), made.code) == (2, Exit.REFUSED)


def test_one_refused_job_does_not_end_a_bulk_change(session: Make, capsys: pytest.CaptureFixture[str]) -> None:
    invalid = says(status(422, "spec.priority is invalid", "Invalid"), 422)
    missing = says(status(404, "not found", "NotFound", details={"name": "c"}), 404)
    here, _ = session(says(created("a")), invalid, says(created("b")), says({}), missing, says(created("d")), says({}))
    changed = change_all(here, ["a", "b", "c", "d"], "is changed", lambda _job: {})
    assert (changed.code, changed.names) == (Exit.REFUSED, ["b", "d"])
    out = capsys.readouterr()
    assert out.out.splitlines() == [f"analysisjob.analysis.klipstream.io/{name} is changed" for name in "bd"]
    assert "error: a: spec.priority is invalid" in out.err


def test_a_job_that_is_gone_before_the_first_list_is_not_waited_for(session: Make) -> None:
    here, _ = session(says({"metadata": {"resourceVersion": "5"}, "items": []}))
    assert wait_finished(here, ["a", "b"], 60.0) == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("versions", "own", "state"),
    [({"operator": "0.2.0", "relay": "0.2.0"}, "0.2.1", "ok"), ({"operator": "0.2.0", "relay": "0.1.0"}, "0.2.0",
     "warning"), ({"operator": "0.3.0"}, "0.2.0", "warning")],
)  # fmt: skip
def test_versions_are_compared(versions: dict[str, str], own: str, state: str) -> None:
    assert compared(versions, own).state == state


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    def write(url: str, **user: Any) -> str:
        path = tmp_path / "config"
        contexts = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("dev", "prod")]
        clusters, users = [{"name": "c", "cluster": {"server": url}}], [{"name": "u", "user": user}]
        path.write_text(
            json.dumps({"current-context": "dev", "contexts": contexts, "clusters": clusters, "users": users})
        )
        return str(path)

    return write


def test_completion_offers_what_the_word_stands_for(
    config: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "SECONDS", 60.0)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        kind = "namespace" if handler.path.startswith("/api/v1/namespaces?") else "job"
        page = {"metadata": {"resourceVersion": "1"}, "items": [created(f"{kind}-{n}") for n in range(600)]}
        if "continue=more" not in handler.path:
            page = {"metadata": {"continue": "more"}, "items": [created(f"old-{n}") for n in range(600)]}
        says(page)(handler)

    with server(answer) as (url, _):
        given = ["--kubeconfig", config(url)]
        assert candidates([*given, "status", "-n", "namespace-59"])[0] == [
            "namespace-59", *(f"namespace-{n}" for n in range(590, 600)),
        ]  # fmt: skip
        assert candidates([*given, "status", "--context", ""])[0] == ["dev", "prod"]
        assert candidates([*given, "status", "job-599"])[0] == ["job-599"], "it is not among the first names"
        assert candidates([*given, "list", "--since", ""])[0] == []
        assert candidates([*given, "watch", "--timeout", ""])[0] == []


def test_completion_waits_for_nobody(config: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a plugin that wants a person, nor for a server."""
    monkeypatch.setattr(completion, "SECONDS", 0.5)
    path = config("http://127.0.0.1:1", exec={"command": "sleep", "args": ["60"]})
    assert candidates(["--kubeconfig", path, "status", ""]) == ([], 4)
    release = threading.Event()
    with server(lambda _: release.wait(60) and None) as (url, _):
        assert candidates(["--kubeconfig", config(url), "status", ""]) == ([], 4)
        release.set()
