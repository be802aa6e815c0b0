"""Which API server to talk to and as whom: kubeconfig files, read as kubectl reads them.

The official client takes over a second to import and to read them, which every command would pay.
Source of the rules: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from klipstream_cli.errors import Exit, Problem

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key: its bytes, or the file that holds it."""

    path: Path | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """One API server and how we identify ourselves to it."""

    server: str
    namespace: str = "default"
    context: str = ""
    authority: Pem | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    proxy: str | None = None
    certificate: Pem | None = None
    key: Pem | None = None
    token: str | None = None
    token_file: Path | None = None
    username: str | None = None
    password: str = ""
    exec_plugin: Mapping[str, Any] | None = None
    impersonate: Mapping[str, Any] = field(default_factory=dict)


def load_access(
    kubeconfig: str | None = None, context: str | None = None, environment: Mapping[str, str] = os.environ
) -> Access:
    """The access by `kubeconfig`, else the files of $KUBECONFIG, else ~/.kube/config, else this pod's service account.

    Raises Problem (code USAGE) that says what is wrong with which file.
    """
    files = _files(kubeconfig, environment)
    found = [file for file in files if file.is_file()]
    if not found:
        if context is None and (SERVICE_ACCOUNT / "token").is_file():
            return _in_cluster(environment)
        raise _bad(f"there is no kubeconfig ({', '.join(map(str, files))})", "Give one by --kubeconfig or $KUBECONFIG.")
    return resolve([(file, _read(file)) for file in found], context)


def context_names(kubeconfig: str | None = None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The contexts that there are. Raises Problem."""
    configs = [_read(file) for file in _files(kubeconfig, environment) if file.is_file()]
    return sorted({str(each["name"]) for config in configs for each in config.get("contexts") or [] if "name" in each})


def _files(kubeconfig: str | None, environment: Mapping[str, str]) -> list[Path]:
    if kubeconfig is not None:
        if not Path(kubeconfig).expanduser().is_file():
            raise _bad(f"there is no file {kubeconfig}")
        return [Path(kubeconfig).expanduser()]
    if environment.get("KUBECONFIG"):
        return [Path(part) for part in environment["KUBECONFIG"].split(os.pathsep) if part]
    return [Path(environment.get("HOME", "~")).expanduser() / ".kube" / "config"]


def resolve(files: list[tuple[Path, Mapping[str, Any]]], context: str | None = None) -> Access:
    """The access that the merged files describe; the first file that names a thing wins (pure)."""
    names = [str(file) for file, _ in files]
    chosen = context or next((str(c) for _, config in files if (c := config.get("current-context"))), "")
    if not chosen:
        raise _bad(
            f"{', '.join(names)}: no current context", "Choose one: kubectl config use-context NAME, or --context."
        )
    _, entry = _named(files, "contexts", "context", chosen)
    if entry is None:
        known = ", ".join(sorted({str(each.get("name")) for _, c in files for each in c.get("contexts") or []}))
        raise _bad(f"there is no context {chosen!r}", f"Known: {known or 'none'}.")
    home, cluster = _named(files, "clusters", "cluster", str(entry.get("cluster", "")))
    if cluster is None or not cluster.get("server"):
        raise _bad(f"the context {chosen!r} names the cluster {entry.get('cluster')!r}, which has no server here")
    user_home, user = _named(files, "users", "user", str(entry.get("user", "")))
    user = user or {}
    if user.get("auth-provider"):
        raise _bad(f"the user {entry.get('user')!r} has an auth-provider, which Kubernetes 1.26 dropped",
                   "Use the exec plugin of your cloud.")  # fmt: skip
    token_file = user.get("tokenFile")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        namespace=str(entry.get("namespace") or "default"),
        context=chosen,
        authority=_pem(cluster, "certificate-authority", home),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        certificate=_pem(user, "client-certificate", user_home),
        key=_pem(user, "client-key", user_home),
        token=user.get("token"),
        token_file=user_home / token_file if token_file else None,
        username=user.get("username"),
        password=str(user.get("password") or ""),
        exec_plugin=_plugin(user.get("exec"), user_home),
        impersonate={key: user[key] for key in ("as", "as-uid", "as-groups", "as-user-extra") if user.get(key)},
    )


def _plugin(settings: Mapping[str, Any] | None, home: Path) -> Mapping[str, Any] | None:
    """A command with a folder in it starts from its kubeconfig, as in client-go; any other is on the PATH."""
    command = str((settings or {}).get("command") or "")
    return {**(settings or {}), "command": str(home / command)} if os.sep in command else settings


def _named(
    files: list[tuple[Path, Mapping[str, Any]]], section: str, key: str, name: str
) -> tuple[Path, Mapping[str, Any] | None]:
    """A named entry and the folder that its relative paths start from."""
    for file, config in files:
        for each in config.get(section) or []:
            if isinstance(each, dict) and each.get("name") == name:
                return file.parent, each.get(key) or {}
    return Path(), None


def _pem(source: Mapping[str, Any], name: str, home: Path) -> Pem | None:
    """The data wins over the file, as in client-go."""
    if source.get(f"{name}-data"):
        try:
            return Pem(data=base64.b64decode(str(source[f"{name}-data"]), validate=True))
        except binascii.Error as error:
            raise _bad(f"{name}-data is no base64: {error}") from error
    return Pem(path=home / str(source[name])) if source.get(name) else None


def _read(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise _bad(f"{file}: {error.strerror}") from error
    from klipstream_cli.yaml_text import BadYaml, load

    try:
        config = load(text)
    except BadYaml as error:
        raise _bad(f"{file}: {error}") from error
    if config is None:  # an empty file, as `kubectl config` leaves one
        return {}
    if not isinstance(config, dict):
        raise _bad(f"{file} is no kubeconfig")
    return config


def _in_cluster(environment: Mapping[str, str]) -> Access:
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise _bad(f"{SERVICE_ACCOUNT} is there but KUBERNETES_SERVICE_HOST and _PORT are not set",
                   "Give a kubeconfig.")  # fmt: skip
    try:
        namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace,
        context="(this pod)",
        authority=Pem(path=SERVICE_ACCOUNT / "ca.crt"),
        token_file=SERVICE_ACCOUNT / "token",
    )


def _bad(message: str, hint: str = "") -> Problem:
    return Problem(f"kubeconfig: {message}", Exit.USAGE, hint)
