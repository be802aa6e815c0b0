"""The table of rights in docs/rbac.md, from what helm renders with everything switched on."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RELEASE, NAMESPACE = "klipstream", "klipstream"
SETTINGS = (
    "gateway.enabled=true", "operator.archiveLogs=true", "relay.convex.url=https://x.convex.cloud",
    "relay.convex.secretName=convex", f"relay.convex.requestsNamespace={NAMESPACE}", "kueue.enabled=true",
)  # fmt: skip
HEAD = """\
# Rights

<!-- Generated from the chart by `make charts`; reasons stand in hack/chart/klipchart/rights.py. -->

What each ServiceAccount of the chart may do, with everything switched on. "Cluster" means everywhere; with
`operator.namespaces` the rights that are marked * are given in those namespaces alone. Nobody may read Secrets but the
relay, one by one, and `relay.secretNames` names which. Workers have no rights at all: their token opens the operator's
progress endpoint, and nothing at the API server.

With `operator.namespaces`, and only then, the operator may also list and watch `namespaces` in the whole cluster: Kopf
asks which of those that are named exist, and sees them come and go.

The end-to-end test `make e2e SUITE=chart` compares this with the API server's audit log: nothing was refused, and what
was granted was used, but for the rights that are marked † (their occasions do not come about there).

"""
FOOT = """
Two ValidatingAdmissionPolicies hold what RBAC cannot: one limits what the relay may change in an AnalysisJob to its
acknowledgement and to what apps may ask through Convex; the other refuses submissions that name a queue which is full
or draining. One that names none is taken, and becomes Rejected if no queue has room.
"""
# (account, resource) -> why
WHY = {
    ("operator", "analysisjobs"): "its backlog; what is old is purged, groups of dead letters are replayed",
    ("operator", "analysisqueues"): "limits and modes",
    ("operator", "analysisjobs/status"): "the truth about each job",
    ("operator", "analysisqueues/status"): "reservations, head, counters",
    ("operator", "jobs"): "one for each attempt; suspended to stop it",
    ("operator", "pods"): "how attempts end; those of lost nodes are deleted",
    ("operator", "pods/status"): "pods of lost nodes are set to Failed",
    (
        "operator",
        "pods/log",
    ): "logs of failed attempts are archived, progress is read from logs (`operator.archiveLogs`, `operator.progressFromLogs`)",  # noqa: E501
    ("operator", "events"): "one for each transition (`operator.events`)",
    (
        "operator",
        "leases",
    ): "one replica leads; with `operator.shards` one of each (`klipstream-operator-I-of-N`), once no other number of them leads",  # noqa: E501
    ("operator", "tokenreviews"): "whose progress a worker posts",
    ("operator", "customresourcedefinitions"): "Kopf waits for them",
    ("operator", "workloads"): "those of Jobs that it stops are deactivated (`kueue.enabled`)",
    (
        "relay",
        "analysisjobs",
    ): "what is to be announced; what apps ask for through Convex (`relay.convex.requestsNamespace`)",
    ("relay", "analysisqueues"): "their endpoints",
    ("relay", "analysisjobs/status"): "`announcedAt`, and a policy leaves nothing else",
    ("relay", "secrets"): "keys that webhooks are signed with",
    ("relay", "leases"): "one relay announces",
    ("relay", "namespaces"): "which cluster this is, for Convex: the uid of kube-system",
    ("gateway", "analysisjobs"): "submitting, following and changing jobs",
    ("gateway", "analysisqueues"): "status and settings of queues",
    ("gateway", "pods"): "why a job waits or fails",
    ("gateway", "pods/log"): "the log of a job's worker",
    ("gateway", "leases"): "since when a leader leads, for `uptime_seconds`",
    ("gateway", "tokenreviews"): "whose a Kubernetes token is (`gateway.kubernetesTokens`)",
    ("gateway", "subjectaccessreviews"): "what its owner may do (`gateway.kubernetesTokens`)",
    ("crds", "customresourcedefinitions"): "brought up to date before an installation and an upgrade (`crds.upgrade`)",
    ("test", "analysisjobs"): "the job of `helm test`",
    ("test", "analysisqueues"): "its queue",
}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource, for one account: `where` is a namespace, or "" for the whole cluster."""

    account: str
    where: str
    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()
    by_namespaces: bool = False
    """Whether operator.namespaces narrows it."""


def render(helm: Path, chart: Path, *settings: str) -> list[dict[str, Any]]:
    """What helm makes of the chart, hooks included."""
    command = [str(helm), "template", RELEASE, str(chart), "--namespace", NAMESPACE, *_sets((*SETTINGS, *settings))]
    # As for an upgrade and for a test: those hooks have accounts of their own.
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def _sets(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def rights_of(objects: list[dict[str, Any]], narrowed: list[dict[str, Any]] | None = None) -> list[Right]:
    """Every right that a binding gives; `narrowed` is the same chart with operator.namespaces."""
    kept = rights_of(narrowed) if narrowed is not None else []
    everywhere = {(each.account, each.resource, each.verb) for each in kept if not each.where}
    roles = {
        (each["kind"], each["metadata"]["name"]): each for each in objects if each["kind"] in ("Role", "ClusterRole")
    }
    found = []
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        role = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        where = "" if binding["kind"] == "ClusterRoleBinding" else binding["metadata"].get("namespace", NAMESPACE)
        for subject in binding["subjects"]:
            account = re.sub(rf"^{RELEASE}-", "", subject["name"])
            for rule in role["rules"]:
                found += [
                    Right(account, where, group, resource, verb, tuple(rule.get("resourceNames", ())),
                          narrowed is not None and not where and (account, resource, verb) not in everywhere)
                    for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
                ]  # fmt: skip
    return found


def table(rights: list[Right], unused: dict[tuple[str, str, str], str]) -> str:
    """docs/rbac.md; `unused` are the rights that the end-to-end test does not see used, with the reason."""
    lines = ["| account | where | resource | verbs | why |", "|---|---|---|---|---|"]
    grouped: dict[tuple[str, str, str, str, tuple[str, ...], bool], list[str]] = {}
    for each in rights:
        key = (each.account, each.where, each.group, each.resource, each.names, each.by_namespaces)
        mark = "†" if (each.account, each.resource, each.verb) in unused else ""
        if each.verb + mark not in grouped.setdefault(key, []):
            grouped[key].append(each.verb + mark)
    for (account, where, group, resource, names, narrowed), verbs in sorted(grouped.items(), key=_order):
        place = "its namespace" if where else f"cluster{' *' if narrowed else ''}"
        name = f"{resource}.{group}" if group and "/" not in resource else resource
        only = f", only {', '.join(f'`{each}`' for each in names)}" if names else ""
        why = WHY[account, resource]
        lines.append(f"| {account} | {place} | `{name}`{only} | {', '.join(verbs)} | {why} |")
    lines.append("\nRights whose occasions the end-to-end test does not bring about:\n")
    lines += [f"- {account}, {verb} {resource}: {why}" for (account, resource, verb), why in sorted(unused.items())]
    return HEAD + "\n".join(lines) + "\n" + FOOT


def _order(item: tuple[tuple[str, str, str, str, tuple[str, ...], bool], list[str]]) -> tuple[Any, ...]:
    return (["operator", "relay", "gateway", "crds", "test"].index(item[0][0]), item[0][1], item[0][2], item[0][3])
