"""What doctor looks at: each check asks the API server one thing and says what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from klipstream_cli.errors import ApiProblem, Forbidden, NotFound
from klipstream_cli.findings import Finding
from klipstream_cli.jobs_view import condition, phase_of
from klipstream_cli.leaders import leaders
from klipstream_cli.own_version import own_version
from klipstream_cli.resources import ANALYSIS_JOBS, ANALYSIS_QUEUES, GROUP, LEASES, PODS, Resource
from klipstream_cli.session import Session
from klipstream_cli.times import age, moment, seconds_since

OLDEST_MINOR = 32
"""Field selectors of custom resources are stable from Kubernetes 1.32 on."""
NOT_ACCEPTED_SECONDS = 30.0
NOT_ANNOUNCED_SECONDS = 3600.0
CLOCK_SECONDS = 5.0
CRDS = Resource(
    "/apis/apiextensions.k8s.io/v1", "apiextensions.k8s.io", "customresourcedefinitions", "customresourcedefinition"
)
DEPLOYMENTS = Resource("/apis/apps/v1", "apps", "deployments", "deployment")
STATEFUL_SETS = Resource("/apis/apps/v1", "apps", "statefulsets", "statefulset")
POLICIES = Resource(
    "/apis/admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io",
    "validatingadmissionpolicies",
    "validatingadmissionpolicy",
)
COMPONENTS = "app.kubernetes.io/name in (klipstream-operator,klipstream-relay,klipstream-gateway)"
OPERATOR = "app.kubernetes.io/name=klipstream-operator"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
RIGHTS = (
    ("list, status, watch", ANALYSIS_JOBS, ("get", "list", "watch"), ""),
    ("submit", ANALYSIS_JOBS, ("create",), ""),
    ("cancel, retry, prioritize", ANALYSIS_JOBS, ("patch",), ""),
    ("why, top, estimates", ANALYSIS_QUEUES, ("get", "list", "watch"), ""),
    ("logs", PODS, ("list",), ""),
    ("logs", PODS, ("get",), "log"),
    ("queue pause, config, clear …", ANALYSIS_QUEUES, ("patch",), ""),
)  # fmt: skip


Check = Callable[[Session], Iterator[Finding]]


def all_findings(session: Session) -> Iterator[Finding]:
    """All checks; one that lacks a right is skipped, and the others go on. Raises Unreachable where nobody answers."""
    for name, check in CHECKS:
        try:
            yield from check(session)
        except Forbidden as problem:
            if problem.status == 401:
                raise
            yield Finding(name, "skipped", problem.message)
        except ApiProblem as problem:
            yield Finding(name, "failed", problem.message, problem.hint)


def _server(session: Session) -> Iterator[Finding]:
    version = session.api.request("GET", "/version")
    text, digits = str(version.get("gitVersion")), "".join(c for c in str(version.get("minor")) if c.isdigit())
    where = f"{text} at {session.access.server}, context {session.access.context}"
    if digits and int(digits) < OLDEST_MINOR:
        yield Finding("API server", "failed", where, f"Kubernetes 1.{OLDEST_MINOR} or newer is needed.")
    else:
        yield Finding("API server", "ok", where)


def _clock(session: Session) -> Iterator[Finding]:
    offset = session.api.clock_offset_seconds or 0.0
    seen = f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the API server's"
    if abs(offset) > CLOCK_SECONDS:
        yield Finding("Clock", "warning", seen, "Ages here follow the server; set this machine's clock (NTP).")
    else:
        yield Finding("Clock", "ok", "this machine's and the API server's agree")


def _crds(session: Session) -> Iterator[Finding]:
    from klipstream_api.crds import analysis_job_crd, analysis_queue_crd

    for ours in (analysis_job_crd(), analysis_queue_crd()):
        name = ours["metadata"]["name"]
        try:
            found = session.api.get(CRDS, None, name)
        except NotFound:
            yield Finding("CRDs", "failed", f"{name} is not installed", "kubectl apply -f crds/")
            continue
        established = condition(found, "Established")
        if established.get("status") != "True":
            yield Finding("CRDs", "failed", f"{name}: {established.get('message', 'not established')}")
            continue
        version = next(iter(ours["spec"]["versions"]))
        served = next((v for v in found["spec"]["versions"] if v["name"] == version["name"]), None)
        missing = _missing(_properties(version), _properties(served)) if served is not None else ["its version"]
        if missing:
            yield Finding("CRDs", "warning", f"{name} is older than this command: it lacks {', '.join(missing[:5])}",
                          "kubectl apply -f crds/ of this version; helm upgrade leaves CRDs alone.")  # fmt: skip
        else:
            yield Finding("CRDs", "ok", f"{name} {version['name']}")


def _properties(version: dict[str, Any]) -> dict[str, Any]:
    return dict(version["schema"]["openAPIV3Schema"]["properties"])


def _missing(ours: dict[str, Any], theirs: dict[str, Any], path: str = "") -> list[str]:
    """Fields that ours has and theirs has not."""
    found = []
    for name, schema in ours.items():
        if name not in theirs:
            found.append(f"{path}{name}")
        elif isinstance(schema.get("properties"), dict):
            found += _missing(schema["properties"], theirs[name].get("properties") or {}, f"{path}{name}.")
    return found


def _rights(session: Session) -> Iterator[Finding]:
    missing: dict[str, list[str]] = {}
    fine: list[str] = []
    for what, resource, verbs, subresource in RIGHTS:
        lacking = [verb for verb in verbs if not _allowed(session, resource, verb, subresource)]
        name = (
            resource.qualified.replace(resource.plural, f"{resource.plural}/{subresource}", 1)
            if subresource
            else resource.qualified
        )
        if lacking:
            missing.setdefault(what, []).append(f"{', '.join(lacking)} on {name}")
        elif what not in fine:
            fine.append(what)
    namespace = f"in the namespace {session.namespace_option or session.access.namespace}"
    allowed = [what for what in fine if what not in missing]
    if allowed:
        yield Finding("Rights", "ok", f"{namespace}: {'; '.join(allowed)}")
    for what, rights in missing.items():
        yield Finding("Rights", "warning", f"not {namespace}: {what}", f"Ask for {' and '.join(rights)}.")


def _allowed(session: Session, resource: Resource, verb: str, subresource: str) -> bool:
    attributes = {"namespace": session.namespace_option or session.access.namespace, "verb": verb,
                  "group": resource.group, "resource": resource.plural, "subresource": subresource}  # fmt: skip
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = session.api.request("POST", REVIEWS, body=body)
    return bool(answer.get("status", {}).get("allowed"))


def _leader(session: Session) -> Iterator[Finding]:
    """The operators' Leases, of this namespace where there are some: several operators may share a cluster."""
    here, scope = session.namespace_option or session.access.namespace, None
    try:
        leases, _ = session.api.list(LEASES, None)
    except Forbidden:
        scope = here
        leases, _ = session.api.list(LEASES, here)
    if found := leaders(leases, _operators(session, scope), here, session.api.now()):
        yield from found
        return
    where = "in the cluster" if scope is None else f"in the namespace {here}, and others may not be looked at"
    yield Finding("Leader", "failed" if scope is None else "skipped", f"no operator has ever led {where}",
                  "helm install klipstream charts/klipstream")  # fmt: skip


def _operators(session: Session, scope: str | None) -> list[dict[str, Any]]:
    """The operators' Deployments, whose names and labels tell their Leases; none where they may not be looked at."""
    try:
        return list(session.api.list(DEPLOYMENTS, scope, label_selector=OPERATOR)[0])
    except Forbidden:
        return []


def _versions(session: Session) -> Iterator[Finding]:
    """Whether the chart's workloads are ready, of one version, and of this command's."""
    found, versions = False, dict[str, str]()
    for resource in (DEPLOYMENTS, STATEFUL_SETS):
        items, _ = session.api.list(resource, None, label_selector=COMPONENTS)
        for item in items:
            found = True
            name, status = item["metadata"]["name"], item.get("status", {})
            labels = item["metadata"].get("labels") or {}
            images = [c["image"].rpartition("/")[2] for c in item["spec"]["template"]["spec"]["containers"]]
            wanted, ready = int(item["spec"].get("replicas", 1)), int(status.get("readyReplicas") or 0)
            if labels.get("app.kubernetes.io/version"):
                versions[name] = str(labels["app.kubernetes.io/version"])
            text = f"{name}: {', '.join(images)}, {ready} of {wanted} ready"
            part = labels.get("app.kubernetes.io/name")
            where = f"kubectl describe pods -n {item['metadata']['namespace']} -l app.kubernetes.io/name={part}"
            yield Finding("Components", "ok" if ready >= wanted else "warning", text, "" if ready >= wanted else where)
    if versions:
        yield compared(versions, own_version())
    if not found:
        yield Finding("Components", "skipped", "no workloads of the chart; the operator may run elsewhere")


def compared(versions: dict[str, str], own: str) -> Finding:
    """What the versions of the workloads, by name, and of this command are to each other (pure)."""
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    if len(set(versions.values())) > 1:
        return Finding("Versions", "warning", f"the workloads are of different versions: {told}",
                       "Is an upgrade under way? helm upgrade brings them together.")  # fmt: skip
    theirs = next(iter(versions.values()))
    if theirs.split(".")[:2] != own.split(".")[:2]:
        return Finding("Versions", "warning", f"this command is {own}, and the cluster has {theirs}",
                       f"Install kubectl-analysis {theirs}.")  # fmt: skip
    return Finding("Versions", "ok", f"the cluster's {theirs} and this command's {own} belong together")


def _queues(session: Session) -> Iterator[Finding]:
    queues, _ = session.api.list(ANALYSIS_QUEUES, session.scope)
    if not queues:
        yield Finding("Queues", "warning", "there is no AnalysisQueue here, so nothing starts",
                      "kubectl apply -f examples/default-queue.yaml")  # fmt: skip
    for queue in queues:
        name, ready = queue["metadata"]["name"], condition(queue, "Ready")
        if ready.get("status") == "True":
            mode = str(queue["spec"].get("mode") or "Running")
            yield Finding("Queues", "ok" if mode == "Running" else "warning", f"{name} is ready and {mode}",
                          "" if mode == "Running" else f"kubectl analysis queue resume {name}")  # fmt: skip
        elif ready:
            yield Finding("Queues", "failed", f"{name} is not ready: {ready.get('message')}")
        else:
            yield Finding("Queues", "failed", f"{name} was never looked at by an operator",
                          "Does the operator run, and does it watch this namespace (operator.namespaces)?")  # fmt: skip


def _acceptance(session: Session) -> Iterator[Finding]:
    jobs, _ = session.api.list(ANALYSIS_JOBS, session.scope, field_selector="status.phase=Queued")
    now = session.api.now()
    late = [
        job for job in jobs
        if job.get("status", {}).get("sequence") is None
        and (seconds_since(job["metadata"].get("creationTimestamp"), now) or 0.0) > NOT_ACCEPTED_SECONDS
    ]  # fmt: skip
    if late:
        oldest = min(late, key=lambda job: str(job["metadata"].get("creationTimestamp")))
        name, namespace = oldest["metadata"]["name"], oldest["metadata"]["namespace"]
        waits = age(oldest["metadata"].get("creationTimestamp"), now)
        seen = f"{len(late)} jobs have not been accepted; {name} waits for {waits}"
        yield Finding("Acceptance", "failed", seen, f"kubectl analysis why {name} -n {namespace}")
    else:
        yield Finding("Acceptance", "ok", "every submission has been accepted or rejected")


def _webhooks(session: Session) -> Iterator[Finding]:
    jobs, _ = session.api.list(ANALYSIS_JOBS, session.scope)
    now = session.api.now()
    waiting = [
        job for job in jobs
        if job["spec"].get("callback") and phase_of(job) in ("Succeeded", "Failed", "Cancelled")
        and not job["status"].get("announcedAt") and moment(job["status"].get("finishedAt")) is not None
        and (seconds_since(job["status"]["finishedAt"], now) or 0.0) > NOT_ANNOUNCED_SECONDS
    ]  # fmt: skip
    if waiting:
        seen = f"the ends of {len(waiting)} jobs have not been announced for over an hour"
        yield Finding("Webhooks", "warning", seen,
                      "Is the relay running, and does the receiver answer? See docs/webhooks.md.")  # fmt: skip
    elif any(job["spec"].get("callback") for job in jobs):
        yield Finding("Webhooks", "ok", "no end is waiting to be announced")
    else:
        yield Finding("Webhooks", "ok", "no job here has a callback")


def _policy(session: Session) -> Iterator[Finding]:
    policies, _ = session.api.list(POLICIES, None)
    ours = [p for p in policies if p["metadata"]["name"].endswith("-submissions")
            and (p["spec"].get("paramKind") or {}).get("apiVersion", "").startswith(GROUP)]  # fmt: skip
    if ours:
        yield Finding(
            "Admission", "ok", f"{ours[0]['metadata']['name']} refuses submissions to full and draining queues"
        )
    else:
        yield Finding("Admission", "warning", "no policy refuses submissions to full queues at the API server",
                      "The operator still rejects them; the chart installs the policy.")  # fmt: skip


CHECKS: tuple[tuple[str, Check], ...] = (
    ("API server", _server), ("Clock", _clock), ("CRDs", _crds), ("Rights", _rights), ("Leader", _leader),
    ("Components", _versions), ("Queues", _queues), ("Acceptance", _acceptance), ("Webhooks", _webhooks),
    ("Admission", _policy),
)  # fmt: skip
