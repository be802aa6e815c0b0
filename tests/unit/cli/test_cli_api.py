"""The connection to an API server that is slow, away, in the way, or asks for patience: real sockets on loopback."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path

import pytest

from klipanswers import Answer, closing, cut_off, says, server, status
from klipstream_cli.api import Api
from klipstream_cli.errors import ApiProblem, Exit, Forbidden, Gone, NotFound, Unreachable
from klipstream_cli.following import changes
from klipstream_cli.kubeconfig import Access
from klipstream_cli.resources import ANALYSIS_JOBS


def test_pages_are_put_together_and_the_connection_is_kept() -> None:
    first = {"metadata": {"continue": "more", "resourceVersion": "5"}, "items": [{"a": 1}]}
    second = {"metadata": {"resourceVersion": "5"}, "items": [{"a": 2}]}
    with server(says(first), says(second)) as (url, seen):
        items, version = Api(Access(url, token="t")).list(ANALYSIS_JOBS, "ns", field_selector="status.phase=Failed")
    assert (items, version) == ([{"a": 1}, {"a": 2}], "5")
    assert "continue=more" in seen[1]["path"]
    assert "fieldSelector=status.phase%3DFailed" in seen[0]["path"]
    assert seen[0]["Authorization"] == "Bearer t"


def test_what_the_server_asks_to_send_later_is_sent_later() -> None:
    with server(says(status(429, "slow down"), 429, Retry_After="1"), says({"metadata": {}, "items": []})) as (
        url,
        seen,
    ):
        Api(Access(url)).list(ANALYSIS_JOBS, "ns")
    assert len(seen) == 2


def test_a_write_is_not_repeated_after_a_lost_answer() -> None:
    with server(cut_off) as (url, seen), pytest.raises(Unreachable):
        Api(Access(url)).create(ANALYSIS_JOBS, "ns", {})
    assert len(seen) == 1


def test_a_write_on_a_connection_that_was_closed_while_idle_opens_another() -> None:
    """As after a prompt that nobody answered for a while."""
    with server(closing(says({"a": 1})), says({"a": 2})) as (url, seen):
        api = Api(Access(url))
        api.get(ANALYSIS_JOBS, "ns", "a")
        while not api.is_stale():  # the server's FIN is on its way
            time.sleep(0.01)
        assert api.patch(ANALYSIS_JOBS, "ns", "a", {}) == {"a": 2}
    assert [each["method"] for each in seen] == ["GET", "PATCH"]


def test_a_write_that_fails_inside_the_server_is_not_repeated() -> None:
    with server(says(status(500, "oh"), 500)) as (url, seen):
        with pytest.raises(ApiProblem) as problem:
            Api(Access(url)).create(ANALYSIS_JOBS, "ns", {})
        assert problem.value.code is Exit.UNREACHABLE
    assert len(seen) == 1


def test_a_server_that_does_not_answer_ends_in_time() -> None:
    release = threading.Event()
    with server(lambda _: release.wait(60) and None) as (url, _):
        with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
            Api(Access(url), 0.3).get(ANALYSIS_JOBS, "ns", "a")
        release.set()


def test_nobody_there_is_said_with_the_context() -> None:
    with pytest.raises(Unreachable, match="connection refused") as problem:
        Api(Access("http://127.0.0.1:1", context="prod")).get(ANALYSIS_JOBS, "ns", "a")
    assert "prod" in problem.value.hint


def test_something_else_than_an_api_server_is_said() -> None:
    with server(says(b"<html>welcome</html>")) as (url, _), pytest.raises(Unreachable, match="no JSON"):
        Api(Access(url)).get(ANALYSIS_JOBS, "ns", "a")
    with server(says(b"<html>gateway</html>", 502)) as (url, _), pytest.raises(ApiProblem, match="gateway"):
        Api(Access(url)).create(ANALYSIS_JOBS, "ns", {})


@pytest.mark.parametrize(
    ("code", "body", "kind", "exit_code", "words"),
    [
        (403, status(403, 'x is forbidden: User "u" cannot list resource "analysisjobs" in API group "g"'), Forbidden,
         Exit.FORBIDDEN, "u lacks the right to list analysisjobs.analysis.klipstream.io in the namespace ns"),
        (403, status(403, "the queue default is full"), ApiProblem, Exit.REFUSED, "the queue default is full"),
        (404, status(404, "not found", details={"name": "a"}), NotFound, Exit.NOT_FOUND, "no analysisjob a"),
        (404, status(404, "could not find the requested resource"), NotFound, Exit.NOT_FOUND, "the cluster has no"),
        (410, status(410, "too old"), Gone, Exit.REFUSED, "too old"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(code, body, kind, exit_code, words) -> None:
    with server(says(body, code)) as (url, _), pytest.raises(kind, match=words) as problem:
        Api(Access(url)).get(ANALYSIS_JOBS, "ns", "a")
    assert problem.value.code is exit_code


def test_an_exec_plugin_is_run_once_and_again_when_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, os, pathlib\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "count = len(log.read_text()) + 1 if log.exists() else 1\n"
        "log.write_text('x' * count)\n"
        "print(json.dumps({'kind': 'ExecCredential', 'status': {'token': f'{os.environ[\"WHO\"]}-{count}'}}))\n"
    )
    version = "client.authentication.k8s.io/v1"
    settings = {"command": sys.executable, "args": [str(plugin)], "env": [{"name": "WHO", "value": "me"}],
                "apiVersion": version, "interactiveMode": "Never"}  # fmt: skip
    with server(says({"a": 1}), says(status(401, "expired"), 401), says({"a": 2})) as (url, seen):
        api = Api(Access(url, exec_plugin=settings))
        assert api.get(ANALYSIS_JOBS, "ns", "a") == {"a": 1}
        assert api.get(ANALYSIS_JOBS, "ns", "a") == {"a": 2}
    assert [each["Authorization"] for each in seen] == ["Bearer me-1", "Bearer me-1", "Bearer me-2"]


def test_connections_share_what_a_plugin_gave(tmp_path: Path) -> None:
    """As the threads of the live view do: a plugin may ask a person."""
    plugin = tmp_path / "plugin.sh"
    log = tmp_path / "log"
    plugin.write_text(f'#!/bin/sh\necho x >> {log}\nsleep 0.2\necho \'{{"status": {{"token": "t"}}}}\'\n')
    plugin.chmod(0o755)
    with server(says({"a": 1})) as (url, seen):
        first = Api(Access(url, exec_plugin={"command": str(plugin)}))
        apis = [first, first.another(), first.another()]
        threads = [threading.Thread(target=api.get, args=(ANALYSIS_JOBS, "ns", "a")) for api in apis]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert [each["Authorization"] for each in seen] == ["Bearer t"] * 3
    assert log.read_text() == "x\n"


def test_a_timeout_of_nothing_is_none() -> None:
    """As for kubectl; it was a thousandth of a second."""
    with server(lambda handler: time.sleep(0.2) or says({"a": 1})(handler)) as (url, _):
        assert Api(Access(url), 0).get(ANALYSIS_JOBS, "ns", "a") == {"a": 1}


def test_a_plugin_that_is_missing_or_fails_is_named(tmp_path: Path) -> None:
    from klipstream_cli.errors import Problem

    with pytest.raises(Problem, match="'no-such-plugin' is not there") as problem:
        Api(Access("http://127.0.0.1:1", exec_plugin={"command": "no-such-plugin", "installHint": "get it"})).get(
            ANALYSIS_JOBS, "ns", "a"
        )
    assert problem.value.hint == "get it"
    with pytest.raises(Problem, match="ended with code 1"):
        Api(Access("http://127.0.0.1:1", exec_plugin={"command": "false"})).get(ANALYSIS_JOBS, "ns", "a")


def test_impersonation_and_token_files_go_along(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("rotated\n")
    with server(says({})) as (url, seen):
        who = {"as": "jane", "as-groups": ["dev"], "as-user-extra": {"example.org/role": ["admin"]}}
        Api(Access(url, token_file=tmp_path / "token", impersonate=who)).get(ANALYSIS_JOBS, "ns", "a")
    assert seen[0]["Authorization"] == "Bearer rotated"
    assert (seen[0]["Impersonate-User"], seen[0]["Impersonate-Group"]) == ("jane", "dev")
    assert seen[0]["Impersonate-Extra-example.org%2Frole"] == "admin"


def test_a_proxy_is_asked_to_connect() -> None:
    with server(says(b"no", 403)) as (url, seen), pytest.raises(Unreachable, match="403"):
        Api(Access("https://cluster.example:6443", proxy=url)).get(ANALYSIS_JOBS, "ns", "a")
    assert (seen[0]["method"], seen[0]["path"]) == ("CONNECT", "cluster.example:6443")


def test_a_watch_that_is_cut_off_goes_on_and_what_was_missed_is_told() -> None:
    """A list with a and b; the watch breaks; its version is gone; the new list has b changed, and c instead of a."""

    def item(name: str, version: str) -> dict[str, object]:
        return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": version}}

    def listed(version: str, *items: object) -> Answer:
        return says({"metadata": {"resourceVersion": version}, "items": list(items)})

    answers = [
        listed("5", item("a", "1"), item("b", "2")),
        cut_off,
        says(json.dumps({"type": "ERROR", "object": status(410, "too old", "Expired")}).encode() + b"\n"),
        listed("9", item("b", "7"), item("c", "8")),
        says(status(404, "gone for good"), 404),
    ]
    with server(*answers) as (url, _):
        feed = changes(Api(Access(url)), ANALYSIS_JOBS, "ns", seconds=60)
        seen = [(kind, obj["metadata"]["name"] if obj else "") for kind, obj in islice(feed, 7)]
        with pytest.raises(NotFound):
            next(feed)
    assert seen[:3] == [("ADDED", "a"), ("ADDED", "b"), ("LISTED", "")]
    assert seen[3:] == [("DELETED", "a"), ("MODIFIED", "b"), ("ADDED", "c"), ("LISTED", "")]


def test_a_version_that_is_gone_again_and_again_is_not_listed_without_pause() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        gone = json.dumps({"type": "ERROR", "object": status(410, "too old", "Expired")}).encode() + b"\n"
        says(gone if "watch=1" in handler.path else {"metadata": {"resourceVersion": "5"}, "items": []})(handler)

    with server(answer) as (url, seen):
        list(changes(Api(Access(url)), ANALYSIS_JOBS, "ns", seconds=1.0))
    assert 4 <= len(seen) <= 12


def test_a_server_that_stays_away_is_given_up_in_the_end() -> None:
    ends_at_once = says(b"")
    for away in (cut_off, ends_at_once):
        _gives_up(away)


def _gives_up(away: Answer) -> None:
    with server(says({"metadata": {"resourceVersion": "5"}, "items": []}), away) as (url, _):
        feed = changes(Api(Access(url)), ANALYSIS_JOBS, "ns", patience_seconds=0.5)
        assert next(feed) == ("LISTED", {})
        with pytest.raises(Unreachable):
            next(feed)


def test_clocks_that_differ_are_seen() -> None:
    with server(says({}, Date="Thu, 01 Jan 2026 00:00:00 GMT")) as (url, _):
        api = Api(Access(url))
        api.get(ANALYSIS_JOBS, "ns", "a")
    assert api.clock_offset_seconds is not None
    assert abs(api.clock_offset_seconds) > 3600
