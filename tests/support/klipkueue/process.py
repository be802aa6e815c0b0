"""Kueue itself, compiled from its module, as a process beside a control plane without nodes.

Its release reaches its own webhooks by a Service and has its certificate mounted from a Secret. Here it listens on
127.0.0.1, so the same webhooks are registered by their address, and Secret and files are given to it beforehand.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from klipcluster.go_build import KUEUE as PROGRAM
from klipcluster.go_build import binary
from klipcrds import KUEUE, manifests
from klipfake.ports import free_port
from klipfake.processes import Process
from klipwebhook.certificate import make_certificate

NAMESPACE = "kueue-system"
SERVICE = "kueue-webhook-service"
SECRET = "kueue-webhook-server-cert"
AUTHORITY = "kueue-ca"
CONVERTED = {"clusterqueues", "cohorts", "localqueues", "multikueueclusters", "workloads"}
"""Definitions whose conversion its webhook does, as its release patches them."""
HOOKED = ("batch-v1-job", "kueue-x-k8s-io-v1beta2-")
"""Webhooks of Jobs and of its own resources; the others are of kinds that are not installed here."""


class Kueue(Process):
    """Kueue's manager for Jobs alone, on ports of its own."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.folder = folder
        self.webhook_port, self.health_port = free_port(), free_port()
        super().__init__("", kubeconfig, folder / "kueue.log")
        self._command = [
            str(binary(PROGRAM)), f"--config={self._configuration()}", "--feature-gates=VisibilityOnDemand=false",
        ]  # fmt: skip

    def objects(self) -> Iterator[dict[str, Any]]:
        """Everything that has to be there before it starts."""
        # It makes another one where this is not valid for all of these, and for 90 days more.
        pem = make_certificate(self.folder, AUTHORITY, f"{SERVICE}.{NAMESPACE}.svc", days=365).read_bytes()
        key, begin, certificate = pem.partition(b"-----BEGIN CERTIFICATE")
        held = {"ca.crt": begin + certificate, "ca.key": key, "tls.crt": begin + certificate, "tls.key": key}
        for name in ("tls.crt", "tls.key"):
            (self._certificates / name).write_bytes(held[name])
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        yield {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "data": {name: base64.b64encode(content).decode() for name, content in held.items()},
        }  # fmt: skip
        paths = list(manifests((KUEUE,)))
        for path in paths:
            yield self._converted(yaml.safe_load(path.read_text()))
        components = paths[0].parents[2]
        for hooks in yaml.safe_load_all((components / "webhook" / "manifests.yaml").read_text()):
            yield self._reachable(hooks)

    def withdraw(self, kubectl: Callable[..., Any]) -> None:
        """Have nobody ask its webhooks any more: they are not answered once it is gone."""
        for kind in ("mutating", "validating"):
            kubectl("delete", f"{kind}webhookconfigurations/kueue-{kind}-webhook-configuration")
        alone = json.dumps({"spec": {"conversion": {"strategy": "None", "webhook": None}}})
        for plural in CONVERTED:
            kubectl("patch", "crd", f"{plural}.kueue.x-k8s.io", "--type=merge", "-p", alone)

    @property
    def _certificates(self) -> Path:
        folder = self.folder / "serving"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _configuration(self) -> Path:
        file = self.folder / "kueue.yaml"
        file.write_text(json.dumps({
            "apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration", "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self.health_port}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": self.webhook_port, "certDir": str(self._certificates)},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {
                "enable": True, "webhookServiceName": SERVICE, "webhookSecretName": SECRET,
            },
            "integrations": {"frameworks": ["batch/job"]},
        }))  # fmt: skip
        return file

    def _url(self, path: str) -> dict[str, str]:
        return {"url": f"https://127.0.0.1:{self.webhook_port}{path}"}

    def _converted(self, definition: dict[str, Any]) -> dict[str, Any]:
        if definition["spec"]["names"]["plural"] in CONVERTED:
            webhook = {"clientConfig": self._url("/convert"), "conversionReviewVersions": ["v1"]}
            definition["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        return definition

    def _reachable(self, hooks: dict[str, Any]) -> dict[str, Any]:
        hooks["metadata"] = {"name": f"kueue-{hooks['metadata']['name']}"}
        kept = []
        for hook in hooks["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            if any(part in path for part in HOOKED):
                kept.append(hook | {"clientConfig": self._url(path)})
        return hooks | {"webhooks": kept}
