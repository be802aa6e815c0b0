"""What identifies us: tokens, passwords, exec plugins, impersonation, and the TLS context with its certificates."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.kubeconfig import Access, Pem

EXEC_SECONDS = 120.0
"""Plugins may open a browser and wait for a person."""


_IN_NAMES = "!#$&'*+-.^_`|~"
"""What a header's name may hold besides letters and digits (RFC 9110, 5.6.2), but for the sign of an escape."""


class Credentials:
    """Headers and TLS context for one access, for several threads.

    An exec plugin runs at the first use, and once more when what it gave is refused, for all connections together.
    """

    def __init__(self, access: Access) -> None:
        self.may_ask = True
        """Whether a plugin may use the terminal; not while a screen is drawn there, or a line completed."""
        self._access = access
        self._plugin: Mapping[str, Any] | None = None
        self._lock = threading.RLock()

    def headers(self) -> dict[str, str]:
        """Authorization and impersonation. Raises Problem where a plugin or a token file cannot be used."""
        access, found = self._access, {}
        token = access.token
        if access.token_file is not None:
            try:
                token = access.token_file.read_text().strip()
            except OSError as error:
                raise _bad(f"the token file {access.token_file}: {error.strerror}") from error
        if token is None and access.exec_plugin is not None:
            token = self._run().get("token")
        if token:
            found["Authorization"] = f"Bearer {token}"
        elif access.username:
            pair = f"{access.username}:{access.password}".encode()
            found["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if access.impersonate.get("as"):
            found["Impersonate-User"] = str(access.impersonate["as"])
        if access.impersonate.get("as-uid"):
            found["Impersonate-Uid"] = str(access.impersonate["as-uid"])
        return found

    def repeated_headers(self) -> list[tuple[str, str]]:
        """Impersonated groups and what else is said of the user; a header for each.

        https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
        """
        found = [("Impersonate-Group", str(group)) for group in self._access.impersonate.get("as-groups") or []]
        for key, values in (self._access.impersonate.get("as-user-extra") or {}).items():
            found += [(f"Impersonate-Extra-{quote(str(key), safe=_IN_NAMES)}", str(value)) for value in values or []]
        return found

    def refused(self, sent: str | None) -> bool:
        """The server answered 401 to this Authorization; whether sending another may help."""
        with self._lock:
            if self._plugin is None:
                return False
            token = self._plugin.get("token")
            if token is None or sent == f"Bearer {token}":
                self._plugin = None  # else another connection has asked the plugin since
            return True

    def tls(self) -> ssl.SSLContext:
        """The TLS context with the cluster's authority and the client certificate."""
        access = self._access
        try:
            context = ssl.create_default_context()
            if access.authority is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                data = access.authority.data
                path = None if access.authority.path is None else str(access.authority.path)
                context.load_verify_locations(cafile=path, cadata=data.decode("ascii") if data else None)
            if access.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            certificate, key = access.certificate, access.key
            if certificate is None and access.exec_plugin is not None:
                status = self._run()
                if status.get("clientCertificateData") and status.get("clientKeyData"):
                    certificate = Pem(data=str(status["clientCertificateData"]).encode())
                    key = Pem(data=str(status["clientKeyData"]).encode())
            if certificate is not None:
                _load_pair(context, certificate, key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise _bad(f"its certificates: {error}") from error
        return context

    def _run(self) -> Mapping[str, Any]:
        """Run the exec plugin, once.

        https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
        """
        with self._lock:  # whoever comes second takes what the first one was given
            if self._plugin is None:
                self._plugin = self._asked()
            return self._plugin

    def _asked(self) -> Mapping[str, Any]:
        plugin = self._access.exec_plugin or {}
        command = [str(plugin.get("command") or ""), *map(str, plugin.get("args") or [])]
        interactive = self.may_ask and plugin.get("interactiveMode") != "Never" and os.isatty(0)
        spec: dict[str, Any] = {"interactive": interactive}
        if plugin.get("provideClusterInfo"):
            spec["cluster"] = self._cluster()
        version = str(plugin.get("apiVersion") or "client.authentication.k8s.io/v1")
        info = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
        extra = {str(each["name"]): str(each.get("value", "")) for each in plugin.get("env") or []}
        try:
            done = subprocess.run(
                command, env=os.environ | extra | {"KUBERNETES_EXEC_INFO": json.dumps(info)},
                stdin=None if interactive else subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                stderr=None if self.may_ask else subprocess.DEVNULL,
                timeout=EXEC_SECONDS,
            )  # fmt: skip
        except FileNotFoundError as error:
            hint = str(plugin.get("installHint") or "Install it, or put it on the PATH.")
            raise _bad(f"the exec plugin {command[0]!r} is not there", hint) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _bad(f"the exec plugin {command[0]!r}: {error}") from error
        try:
            answer = json.loads(done.stdout) if done.returncode == 0 else None
            status = answer["status"] if isinstance(answer, dict) else None
        except (ValueError, KeyError):
            status = None
        if not isinstance(status, dict):
            raise _bad(f"the exec plugin {command[0]!r} ended with code {done.returncode} and gave no credential")
        return status

    def _cluster(self) -> dict[str, Any]:
        access = self._access
        cluster: dict[str, Any] = {"server": access.server, "insecure-skip-tls-verify": access.insecure}
        if access.tls_server_name:
            cluster["tls-server-name"] = access.tls_server_name
        if access.authority is not None:
            content = access.authority.data or (access.authority.path.read_bytes() if access.authority.path else b"")
            cluster["certificate-authority-data"] = base64.b64encode(content).decode()
        return cluster


def _load_pair(context: ssl.SSLContext, certificate: Pem, key: Pem | None) -> None:
    """OpenSSL reads pairs from files only; ours are there for the moment of reading, for us alone."""
    with tempfile.TemporaryDirectory(prefix="kubectl-analysis-") as folder:

        def file(pem: Pem, name: str) -> str:
            if pem.data is None:
                return str(pem.path)
            path = Path(folder, name)
            path.touch(mode=0o600)
            path.write_bytes(pem.data)
            return str(path)

        context.load_cert_chain(file(certificate, "certificate.pem"), file(key, "key.pem") if key is not None else None)


def _bad(message: str, hint: str = "") -> Problem:
    return Problem(f"kubeconfig: {message}", Exit.USAGE, hint)
