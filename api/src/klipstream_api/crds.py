"""The CustomResourceDefinitions, made from the models: `python -m klipstream_api.crds DIRECTORY...`."""

import sys
from pathlib import Path
from typing import Any

import yaml

from klipstream_api import names
from klipstream_api.analysisjob import AnalysisJobSpec, AnalysisJobStatus
from klipstream_api.analysisqueue import AnalysisQueueSpec, AnalysisQueueStatus
from klipstream_api.schema import Schema, structural_schema

HEADER = "# Generated from the models in api/ by `make crds`; changes belong there.\n"


def _rule(rule: str, message: str) -> dict[str, str]:
    return {"rule": rule, "message": message}


def _immutable(field: str, why: str) -> dict[str, str]:
    """A transition rule for a field that may be absent: set, changed or removed after creation is refused."""
    return _rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} cannot be changed {why}: submit another AnalysisJob",
    )


JOB_SPEC_RULES = [
    _rule("has(self.videoUrl) != has(self.videoUrlFrom)", "give exactly one of videoUrl and videoUrlFrom"),
    *(_immutable(field, "after submission") for field in (
        "videoUrl", "videoUrlFrom", "videoId", "jobId", "queueName", "type", "params", "sealed",
    )),
    _rule("!oldSelf.cancel || self.cancel", "cancel cannot be taken back: submit the video again"),
    _rule("self.replay >= oldSelf.replay", "replay only rises: raise it by one to run a failed job again"),
]  # fmt: skip

_FINAL = "['Succeeded', 'Cancelled', 'Rejected', 'Failed']"
JOB_STATUS_RULES = [
    _rule(
        f"!(oldSelf.phase in {_FINAL}) || self.phase == oldSelf.phase"
        " || (oldSelf.phase == 'Failed' && has(self.observedReplay) && has(oldSelf.observedReplay)"
        " && self.observedReplay > oldSelf.observedReplay)",
        "a finished job stays finished; a failed one runs again only by a higher spec.replay",
    ),
    _rule(
        f"!(oldSelf.phase in {_FINAL}) || self.phase != oldSelf.phase || !has(oldSelf.progress)"
        " || (has(self.progress) && self.progress == oldSelf.progress)",
        "progress is frozen once the job is finished",
    ),
    _rule(
        "!has(oldSelf.progress) || !has(self.progress) || self.progress.attempt != oldSelf.progress.attempt"
        " || self.progress.percentage >= oldSelf.progress.percentage",
        "progress never falls within an attempt",
    ),
    _rule(
        "!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)",
        "the number of attempts never falls",
    ),
]

QUEUE_SPEC_RULES = [
    _rule(
        "!has(self.results) || !has(self.results.claimName) || self.results.url.startsWith('file:///')",
        "results.claimName goes with a file:/// URL: the claim is mounted at its path",
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
    status["default"] = {"phase": "Queued"}
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
    return _crd("AnalysisQueue", "analysisqueues", "aq", description, spec, status, version)


def _crd(
    kind: str, plural: str, short: str, description: str, spec: Schema, status: Schema, version: dict[str, Any]
) -> dict[str, Any]:
    schema = {
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
