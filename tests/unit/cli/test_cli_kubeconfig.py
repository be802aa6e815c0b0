"""Kubeconfig files are read as kubectl reads them."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipstream_cli.api import Api
from klipstream_cli.connection import proxy_for
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.kubeconfig import Access, context_names, load_access, resolve
from klipstream_cli.resources import ANALYSIS_JOBS


def config(name: str = "a", **user: Any) -> dict[str, Any]:
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"ns-{name}"}}],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443/"}}],
        "users": [{"name": name, "user": user or {"token": f"token-{name}"}}],
    }


def test_the_current_context_leads_to_server_namespace_and_token() -> None:
    access = resolve([(Path("/x/config"), config())])
    assert (access.server, access.namespace, access.token) == ("https://a.example:6443", "ns-a", "token-a")


def test_of_several_files_the_first_that_names_a_thing_wins(tmp_path: Path) -> None:
    first, second = config("a"), config("b")
    del first["clusters"]
    second["clusters"].append({"name": "a", "cluster": {"server": "https://other.example"}})
    second["users"].append({"name": "a", "user": {"token": "never"}})
    for name, content in (("one", first), ("two", second)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    files = os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "missing"), str(tmp_path / "two")])
    access = load_access(environment={"KUBECONFIG": files})
    assert (access.server, access.token) == ("https://other.example", "token-a")
    assert load_access(None, "b", {"KUBECONFIG": files}).server == "https://b.example:6443"


def test_paths_start_from_their_own_file_and_data_wins_over_paths() -> None:
    found = config(**{"client-certificate": "c.pem", "client-key": "/abs/k.pem", "tokenFile": "token"})
    found["clusters"][0]["cluster"] |= {
        "certificate-authority": "ca.pem", "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }  # fmt: skip
    access = resolve([(Path("/home/u/.kube/config"), found)])
    assert access.certificate is not None
    assert access.certificate.path == Path("/home/u/.kube/c.pem")
    assert access.key is not None
    assert access.key.path == Path("/abs/k.pem")
    assert access.token_file == Path("/home/u/.kube/token")
    assert access.authority is not None
    assert access.authority.data == b"PEM"


def test_proxies_names_impersonation_and_plugins_are_taken_over() -> None:
    found = config(**{"exec": {"command": "login"}, "as": "root", "as-groups": ["ops"]})
    found["clusters"][0]["cluster"] |= {
        "proxy-url": "http://p:3128",
        "tls-server-name": "n",
        "insecure-skip-tls-verify": True,
    }
    access = resolve([(Path("/x"), found)])
    assert (access.proxy, access.tls_server_name, access.insecure) == ("http://p:3128", "n", True)
    assert access.exec_plugin == {"command": "login"}
    assert access.impersonate == {"as": "root", "as-groups": ["ops"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current-context": ""}, "no current context"),
        ({"current-context": "z"}, "no context 'z'"),
        ({"clusters": []}, "no server here"),
        ({"users": [{"name": "a", "user": {"auth-provider": {"name": "gcp"}}}]}, "auth-provider"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem, match=words) as problem:
        resolve([(Path("/x"), config() | change)])
    assert problem.value.code is Exit.USAGE


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("a: [")
    with pytest.raises(Problem, match=r"bad: line \d"):
        load_access(str(tmp_path / "bad"))
    (tmp_path / "list").write_text("- a")
    with pytest.raises(Problem, match="is no kubeconfig"):
        load_access(str(tmp_path / "list"))
    with pytest.raises(Problem, match="there is no kubeconfig"):
        load_access(environment={"HOME": str(tmp_path)})


def test_a_plugin_with_a_folder_starts_from_its_kubeconfig_and_any_other_is_on_the_path() -> None:
    for command, expected in (("bin/login", "/home/u/.kube/bin/login"), ("/opt/login", "/opt/login"), ("aws", "aws")):
        access = resolve([(Path("/home/u/.kube/config"), config(exec={"command": command, "args": ["x"]}))])
        assert access.exec_plugin == {"command": expected, "args": ["x"]}


def test_an_empty_file_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "one").write_text(yaml.safe_dump(config()))
    files = os.pathsep.join([str(tmp_path / "empty"), str(tmp_path / "one")])
    assert load_access(environment={"KUBECONFIG": files}).token == "token-a"
    assert context_names(environment={"KUBECONFIG": files}) == ["a"]


def test_a_proxy_of_the_environment_needs_no_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxy_for(Access("https://a.example"), "a.example") == "http://proxy.example:3128"


def test_a_proxy_that_cannot_be_used_is_named_without_its_password() -> None:
    api = Api(Access("https://a.example", proxy="socks5://me:secret@p.example:1080"))
    with pytest.raises(Problem, match=r"'socks5://p.example:1080' cannot be used"):
        api.get(ANALYSIS_JOBS, "ns", "a")
