"""The current kubectl context: somebody's own cluster, so nothing is changed before they have agreed."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from klipcluster import ClusterError
from klipdemo.images import HERE, Images
from klipdemo.shell import Shell

CRD_GROUP = "analysis.klipstream.io"
LABEL = {"demo": "klipstream"}
"""Marks the namespace as the demo's own."""


@dataclass(frozen=True)
class Found:
    """What the cluster of a context holds already."""

    context: str
    server: str
    namespace: str
    namespace_exists: bool
    namespace_is_ours: bool
    crds: tuple[str, ...]
    has_default_storage: bool


def look(tools: Path, namespace: str) -> tuple[Shell, Found]:
    """The current context, and a shell that stays with it even if the user moves on to another one."""
    context = Shell(None, tools, namespace).kubectl("config", "current-context").strip()
    shell = Shell(None, tools, namespace, context)
    server = shell.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    there = shell.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "json")
    labels = json.loads(there)["metadata"].get("labels", {}) if there else {}
    classes = [each["metadata"].get("annotations", {}) for each in shell.items("storageclasses")]
    return shell, Found(
        context=context,
        server=server,
        namespace=namespace,
        namespace_exists=bool(there),
        namespace_is_ours=labels.items() >= LABEL.items(),
        crds=tuple(each["metadata"]["name"] for each in shell.items("crds") if each["spec"]["group"] == CRD_GROUP),
        has_default_storage=any(
            each.get("storageclass.kubernetes.io/is-default-class") == "true" for each in classes
        ),
    )  # fmt: skip


def objection(found: Found, images: Images | None) -> str | None:
    """What speaks against installing the demo there, and what to do about it."""
    if found.namespace_exists and not found.namespace_is_ours:
        return (
            f"namespace {found.namespace} of context {found.context} was not made by the demo: choose another cluster"
        )
    if found.crds and not found.namespace_exists:
        return (
            f"context {found.context} has KlipStream's custom resources already, and a second operator would disturb"
            " the first: choose another cluster, or, if nobody uses them, `kubectl delete -f crds/`"
        )
    if not found.has_default_storage:
        return (
            f"context {found.context} has no default StorageClass, so the results would have no volume:"
            " `kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true`"
        )
    if images is None:
        return (
            "that cluster does not see the images of this machine. Push them to a registry that it may pull from and"
            " name it:\n  make push IMAGES=registry.example.com/team\n"
            "  make demo CLUSTER=current IMAGES=registry.example.com/team\n"
            f"IMAGES={HERE} where its nodes hold build/images/*.tar already (minikube image load, kind load)"
        )
    return None


def agree(question: str) -> None:
    """Ask the person at the terminal. Raises ClusterError without a clear yes."""
    if not sys.stdin.isatty():
        raise ClusterError("CLUSTER=current asks before it changes anything: run it in a terminal")
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ClusterError("not confirmed: nothing was changed")


def remove(shell: Shell, found: Found, release: str) -> str:
    """Remove what the demo installed; what is left, or nothing."""
    if not found.namespace_exists:
        return f"context {found.context} has no namespace {found.namespace}: there is nothing to remove"
    if not found.namespace_is_ours:
        raise ClusterError(
            f"the namespace {found.namespace} of context {found.context} was not made by the demo: it stays as it is"
        )
    agree(f"Remove the demo, with its namespace {found.namespace}, from context {found.context} ({found.server})?")
    if f"analysisjobs.{CRD_GROUP}" in found.crds:
        shell.kubectl("delete", "analysisjobs", "--all")
    shell.helm("uninstall", release, "--ignore-not-found", "--wait")
    shell.kubectl("delete", "namespace", found.namespace)
    # The custom resources came with the demo, but others may have used them since.
    used = [crd for crd in found.crds if shell.items(crd, "--all-namespaces")]
    if used:
        return f"the custom resources stay, since other namespaces hold objects of {', '.join(used)}"
    if found.crds:
        shell.kubectl("delete", "crd", *found.crds)
    return ""
