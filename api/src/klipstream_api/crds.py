"""The CustomResourceDefinitions, made from the models: `python -m klipstream_api.crds DIRECTORY...`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from klipstream_api import names
from klipstream_api.analysisjob import DNS_LABEL, MAX_PARAMS_CHARACTERS, AnalysisJobSpec, AnalysisJobStatus
from klipstream_api.analysisqueue import AnalysisQueueSpec, AnalysisQueueStatus
from klipstream_api.schema import Schema, structural_schema

HEADER = "# Generated from the models in api/ by `make crds`; changes belong there.\n"


def _rule(rule: str, message: str) -> dict[str, str]:
    return {"rule": rule, "message": message}


def _all_of(*rules: dict[str, str]) -> dict[str, str]:
    """One rule out of several, with the message of the first that is broken.

    The API server evaluates every rule at every write, of the status as well, and each costs about as much as another
    however little it compares: docs/performance.md has the figures.
    """
    *others, last = rules
    said = f"'{last['message']}'"
    for each in reversed(others):
        said = f"!({each['rule']}) ? '{each['message']}' : {said}"
    return {"rule": " && ".join(f"({each['rule']})" for each in rules), "messageExpression": said}


def _immutable(field: str, why: str) -> dict[str, str]:
    """A transition rule for a field that may be absent: set, changed or removed after creation is refused."""
    return _rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} cannot be changed {why}: submit another AnalysisJob",
    )


def _resources(field: str) -> dict[str, str]:
    """Kubernetes takes its own resources by these names, and all others with a domain."""
    path = f"self.resources.{field}"
    return _rule(
        f"!has(self.resources) || !has({path}) || {path}.all(name, name in ['cpu', 'memory', 'ephemeral-storage']"
        " || name.contains('/') || name.startsWith('hugepages-'))",
        f"resources.{field} names something else than cpu, memory, ephemeral-storage or a resource with a domain,"
        " such as nvidia.com/gpu",
    )


JOB_SPEC_RULES = [
    _all_of(
        _rule("has(self.videoUrl) != has(self.videoUrlFrom)", "give exactly one of videoUrl and videoUrlFrom"),
        _rule(
            "!has(self.params) || self.params.map(name, name.size() + self.params[name].size()).sum()"
            f" <= {MAX_PARAMS_CHARACTERS}",
            f"params may hold {MAX_PARAMS_CHARACTERS} characters together: put more behind a URL and name that",
        ),
        *(_resources(field) for field in ("requests", "limits")),
    ),
    # A rule that names oldSelf is not tried at the creation, so these stand apart.
    _all_of(
        *(_immutable(field, "after submission") for field in (
            "videoUrl", "videoUrlFrom", "videoId", "jobId", "queueName", "type", "params", "sealed",
        )),
        _rule("!oldSelf.cancel || self.cancel", "cancel cannot be taken back: submit the video again"),
        _rule("self.replay >= oldSelf.replay", "replay only rises: raise it by one to run a failed job again"),
    ),
]  # fmt: skip

# Rules of transitions see an object before and after; defaults are filled in on both sides, so these are there.
_REPLAYED = "self.observedReplay > oldSelf.observedReplay"
_FINAL = "['Succeeded', 'Cancelled', 'Rejected', 'Failed']"
JOB_STATUS_RULES = [
    _all_of(
        _rule(
            f"!(oldSelf.phase in {_FINAL}) || self.phase == oldSelf.phase"
            f" || (oldSelf.phase == 'Failed' && {_REPLAYED})",
            "a finished job stays finished; a failed one runs again only by a higher spec.replay",
        ),
        _rule(
            f"!(oldSelf.phase in {_FINAL}) || self.phase != oldSelf.phase || !has(oldSelf.progress)"
            " || (has(self.progress) && self.progress == oldSelf.progress)",
            "progress is frozen once the job is finished",
        ),
        _rule(
            "!has(oldSelf.progress) || (has(self.progress) && (self.progress.attempt > oldSelf.progress.attempt"
            " || (self.progress.attempt == oldSelf.progress.attempt"
            " && self.progress.percentage >= oldSelf.progress.percentage)))",
            "progress never falls within an attempt, and never goes back to an earlier one",
        ),
        _rule("self.attempt >= oldSelf.attempt", "the number of attempts never falls"),
        _rule("self.observedReplay >= oldSelf.observedReplay", "the replays that were acted on never become fewer"),
        _rule(
            f"!has(oldSelf.sequence) || (has(self.sequence) && (self.sequence == oldSelf.sequence || {_REPLAYED}))",
            "an accepted job keeps its place; only a replay gives it a new one",
        ),
    ),
]


def _keys(field: str) -> dict[str, str]:
    path = f"self.workerTemplate.{field}"
    return _rule(
        f"!has({path}) || {path}.all(key, !format.qualifiedName().validate(key).hasValue())",
        f"a key of workerTemplate.{field} is not a Kubernetes name such as team or example.com/team",
    )


QUEUE_RULES = [
    _rule(
        f"self.metadata.name.size() <= 63 && self.metadata.name.matches('{DNS_LABEL}')",
        "a queue's name has at most 63 lower-case letters, digits and dashes: it becomes a label of pods",
    ),
]
QUEUE_SPEC_RULES = [
    _rule(
        "!has(self.results) || !has(self.results.claimName) || self.results.url.startsWith('file:///')",
        "results.claimName goes with a file:/// URL: the claim is mounted at its path",
    ),
    _rule(
        "!has(self.accepts) || has(self.accepts.types) || has(self.accepts.priorities)",
        "accepts needs types or priorities; leave it out for a queue that takes what no other queue accepts",
    ),
    *(_keys(field) for field in ("labels", "annotations")),
    _rule(
        "!has(self.reservedSlots) || self.reservedSlots.all(priority, priority in ['URGENT', 'HIGH', 'NORMAL'])",
        "reservedSlots names URGENT, HIGH or NORMAL: a slot kept for LOW would be kept from nobody",
    ),
    _rule(
        "!has(self.capacity) || self.capacity.probeSeconds <= self.capacity.probeAtMostSeconds",
        "capacity.probeSeconds is the first pause and cannot exceed probeAtMostSeconds, the longest one",
    ),
]


def _column(name: str, kind: str, path: str, description: str, priority: int = 0) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


JOB_COLUMNS = [
    _column("Priority", "string", ".spec.priority", "URGENT, HIGH, NORMAL or LOW"),
    _column("Phase", "string", ".status.phase", "Where the job stands"),
    _column("Progress", "number", ".status.progress.percentage", "Percent of the current attempt"),
    _column("Stage", "string", ".status.progress.stage", "What the worker does"),
    _column("Attempt", "integer", ".status.attempt", "Attempts begun"),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since submission"),
    _column("Queue", "string", ".status.queueName", "The queue that accepted the job", 1),
    _column("Video", "string", ".spec.videoId", "The platform's id of the video", 1),
    _column("Started", "date", ".status.startedAt", "Time since the last attempt began", 1),
    _column("Finished", "date", ".status.finishedAt", "Time since the job ended", 1),
    _column("Reason", "string", '.status.conditions[?(@.type=="Finished")].reason', "Why the job ended", 1),
]
QUEUE_COLUMNS = [
    _column("Mode", "string", ".spec.mode", "Running, Paused or Draining"),
    _column("Active", "integer", ".status.active", "Attempts that hold a slot"),
    _column("Limit", "integer", ".spec.maxConcurrentJobs", "Slots"),
    _column("Queued", "integer", ".status.queued", "Jobs that wait"),
    _column("BackingOff", "integer", ".status.backingOff", "Jobs that wait for a retry"),
    _column("DeadLettered", "integer", ".status.deadLettered", "Jobs that failed for good"),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
]


def analysis_job_crd() -> dict[str, Any]:
    """CustomResourceDefinition of AnalysisJob. Phase Queued is a default, so it shows before any write."""
    spec, status = structural_schema(AnalysisJobSpec), structural_schema(AnalysisJobStatus)
    spec["x-kubernetes-validations"] = JOB_SPEC_RULES
    status["x-kubernetes-validations"] = JOB_STATUS_RULES
    # The API server tries the rules on the default as it stands here, before the defaults within it are filled in.
    status["default"] = {"phase": "Queued", "attempt": 0, "observedReplay": 0}
    selectable = (".status.phase", ".status.queueName", ".spec.priority", ".spec.videoId")
    version = {
        "additionalPrinterColumns": JOB_COLUMNS,
        "selectableFields": [{"jsonPath": path} for path in selectable],
        "subresources": {"status": {}},
    }
    return _crd("AnalysisJob", "analysisjobs", "aj", "One video to be analysed.", spec, status, version)


def analysis_queue_crd() -> dict[str, Any]:
    """CustomResourceDefinition of AnalysisQueue, with the scale subresource for kubectl scale and autoscalers."""
    spec, status = structural_schema(AnalysisQueueSpec), structural_schema(AnalysisQueueStatus)
    spec["x-kubernetes-validations"] = QUEUE_SPEC_RULES
    scale = {
        "specReplicasPath": ".spec.maxConcurrentJobs",
        "statusReplicasPath": ".status.active",
        "labelSelectorPath": ".status.selector",
    }
    version = {"additionalPrinterColumns": QUEUE_COLUMNS, "subresources": {"status": {}, "scale": scale}}
    description = "A backlog with its limits and its worker."
    return _crd("AnalysisQueue", "analysisqueues", "aq", description, spec, status, version, QUEUE_RULES)


def _crd(
    kind: str,
    plural: str,
    short: str,
    description: str,
    spec: Schema,
    status: Schema,
    version: dict[str, Any],
    rules: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    # Merge patches alone write a status, so nobody needs to own parts of it; to keep owners of each of its fields
    # costs the API server up to a third of a write.
    status = status | {"x-kubernetes-map-type": "atomic"}
    schema: Schema = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    if rules:
        schema["x-kubernetes-validations"] = list(rules)
    body = {"name": names.VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "plural": plural,
                "singular": kind.lower(),
                "listKind": f"{kind}List",
                "shortNames": [short],
                "categories": ["analysis"],
            },
            "versions": [body | version],
        },
    }


def manifests() -> dict[str, str]:
    """YAML text by file name."""
    crds = (analysis_job_crd(), analysis_queue_crd())
    return {
        f"{crd['spec']['names']['plural']}.yaml": HEADER
        + yaml.dump(crd, Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)
        for crd in crds
    }


class _PlainDumper(yaml.SafeDumper):
    """Without anchors: a list that is used twice is written twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def main() -> int:
    """Write the manifests into each directory named."""
    for directory in sys.argv[1:]:
        Path(directory).mkdir(parents=True, exist_ok=True)
        for name, text in manifests().items():
            Path(directory, name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
