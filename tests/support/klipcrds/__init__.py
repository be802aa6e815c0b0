"""Custom resources of others that the chart renders objects of, from their Go modules: pinned, and checked by hash."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from klipcluster.go_build import find_go


@dataclass(frozen=True, slots=True)
class Source:
    """A module, its hash as go.sum has it, and the manifests in it."""

    module: str
    digest: str
    manifests: tuple[str, ...]


_MONITORING = "example/prometheus-operator-crd/monitoring.coreos.com"
SOURCES = (
    Source("github.com/prometheus-operator/prometheus-operator@v0.85.0",
           "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
           (f"{_MONITORING}_podmonitors.yaml", f"{_MONITORING}_prometheusrules.yaml")),
    Source("github.com/cert-manager/cert-manager@v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
           ("deploy/crds/cert-manager.io_certificates.yaml",)),
    Source("sigs.k8s.io/gateway-api@v1.4.1", "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=",
           ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",)),
    Source("github.com/kedacore/keda/v2@v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
           ("config/crd/bases/keda.sh_scaledobjects.yaml",)),
    Source("github.com/external-secrets/external-secrets@v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
           ("config/crds/bases/external-secrets.io_externalsecrets.yaml",)),
)  # fmt: skip


_KUEUE = "config/components/crd/bases/kueue.x-k8s.io"
KUEUE = Source("sigs.k8s.io/kueue@v0.17.0", "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I=",
               tuple(f"{_KUEUE}_{name}.yaml" for name in (
                   "admissionchecks", "clusterqueues", "cohorts", "localqueues", "multikueueclusters",
                   "multikueueconfigs", "provisioningrequestconfigs", "resourceflavors", "topologies",
                   "workloadpriorityclasses", "workloads",
               )))  # fmt: skip


class NotTheModule(AssertionError):
    """A module is not there, or holds something else than it did."""


def manifests(sources: tuple[Source, ...] = SOURCES) -> Iterator[Path]:
    """Paths of the CustomResourceDefinitions, downloaded once into Go's own cache. Raises NotTheModule."""
    for source in sources:
        with tempfile.TemporaryDirectory() as nowhere:
            done = subprocess.run(
                [find_go(), "mod", "download", "-json", source.module],
                cwd=nowhere, env=os.environ | {"GOFLAGS": "-mod=mod"}, capture_output=True, text=True, check=False,
            )  # fmt: skip
        told = json.loads(done.stdout or "{}")
        if told.get("Sum") != source.digest:
            raise NotTheModule(f"{source.module}: {told.get('Error') or told.get('Sum') or done.stderr}")
        yield from (Path(told["Dir"], manifest) for manifest in source.manifests)
