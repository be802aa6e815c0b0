"""What of a Job or a pod is kept in a recording: no address, path or id of the machine it was made on."""

import re
from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "finalizers", "labels",
)  # fmt: skip
_SPEC = (
    "nodeName", "restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "priority", "suspend",
    "backoffLimit", "nodeSelector", "tolerations",
)  # fmt: skip
_CONTAINER = ("name", "image", "command", "resources", "restartPolicy", "terminationMessagePolicy")
_DROPPED_STATUS = ("hostIP", "hostIPs", "podIP", "podIPs")
_DROPPED_CONTAINER = ("containerID", "imageID", "volumeMounts", "user", "allocatedResources", "resources")


def trim(obj: JsonObject, paths: Mapping[str, str]) -> JsonObject:
    """The object as it goes into a recording; `paths` maps folders of this machine to what stands for them."""
    spec = obj["spec"]
    kept = {key: spec[key] for key in _SPEC if key in spec}
    for group in ("initContainers", "containers"):
        if group in spec:
            kept[group] = [{key: each[key] for key in _CONTAINER if key in each} for each in spec[group]]
    status = {key: value for key, value in obj.get("status", {}).items() if key not in _DROPPED_STATUS}
    for group in ("initContainerStatuses", "containerStatuses"):
        if group in status:
            status[group] = [_container(each) for each in status[group]]
    metadata = obj["metadata"]
    trimmed = {
        "metadata": {key: metadata[key] for key in _METADATA if key in metadata},
        "spec": kept,
        "status": status,
    }
    return dict(_scrub(trimmed, paths))


def _container(status: JsonObject) -> JsonObject:
    kept = {key: value for key, value in status.items() if key not in _DROPPED_CONTAINER}
    for group in ("state", "lastState"):
        kept[group] = {
            kind: {key: value for key, value in detail.items() if key != "containerID"}
            for kind, detail in status.get(group, {}).items()
        }
    return kept


def _scrub(value: Any, paths: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _scrub(inner, paths) for key, inner in value.items()}
    if isinstance(value, list):
        return [_scrub(inner, paths) for inner in value]
    if isinstance(value, str):
        for folder, name in paths.items():
            value = value.replace(folder, name)
        value = re.sub(r"\b[0-9a-f]{64}\b", "0" * 12, value)
        return re.sub(r"\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}\b", "192.0.2.1", value)
    return value
