"""Cases about creating and patching."""

from __future__ import annotations

from klipsim.conformance.bodies import (
    ANALYSIS_JOBS,
    ANALYSIS_QUEUES,
    NODE,
    analysis_job,
    analysis_queue,
    kubernetes_job,
    lease,
    pod,
    pod_template,
)
from klipsim.conformance.sites import Case
from klipsim.conformance.transcript import Transcript
from klipstream_kube import EVENTS, JOBS, LEASES, PODS, TOKEN_REVIEWS, Client

FOREIGN_UID = "00000000-0000-4000-8000-000000000000"


async def created_objects_are_filled_in(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    status = {"status": {"phase": "Succeeded"}}
    await seen.ask("AnalysisJob", client.create(ANALYSIS_JOBS, analysis_job() | status, namespace))
    await seen.ask("AnalysisQueue", client.create(ANALYSIS_QUEUES, analysis_queue(), namespace))
    await seen.ask("Job", client.create(JOBS, kubernetes_job() | {"status": {"active": 1}}, namespace))
    await seen.ask("pod", client.create(PODS, pod() | {"status": {"phase": "Running"}}, namespace))
    await seen.ask("Lease", client.create(LEASES, lease(), namespace))
    return seen.lines


async def a_taken_name_is_refused(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    first = await seen.ask("first", client.create(ANALYSIS_JOBS, analysis_job(), namespace))
    await seen.ask("second", client.create(ANALYSIS_JOBS, analysis_job(spec={"priority": "LOW"}), namespace))
    await seen.ask("tried", client.create(ANALYSIS_JOBS, analysis_job(), namespace, dry_run=True))
    await seen.ask("not valid either", client.create(ANALYSIS_JOBS, analysis_job(spec={"videoUrl": None}), namespace))
    await seen.ask("afterwards", client.get(ANALYSIS_JOBS, "first", namespace))
    await seen.ask("Job", client.create(JOBS, kubernetes_job(), namespace))
    await seen.ask("Job again", client.create(JOBS, kubernetes_job(), namespace))
    await seen.watched("told", client, ANALYSIS_JOBS, first["metadata"]["resourceVersion"])
    return seen.lines


async def a_dry_run_stores_nothing(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    _, version = await client.list(JOBS, namespace)
    await seen.ask("tried", client.create(JOBS, kubernetes_job(), namespace, dry_run=True))
    await seen.ask("read", client.get(JOBS, "work", namespace))
    await seen.ask("tried AnalysisJob", client.create(ANALYSIS_JOBS, analysis_job(), namespace, dry_run=True))
    await seen.listed("listed", client, JOBS)
    await seen.watched("told", client, JOBS, version)
    await seen.ask("created", client.create(JOBS, kubernetes_job(), namespace))
    return seen.lines


async def creations_that_make_no_sense_are_refused(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await seen.ask("version", client.create(ANALYSIS_JOBS, analysis_job(resourceVersion="7"), namespace))
    await seen.ask("namespace", client.create(ANALYSIS_JOBS, analysis_job(namespace="elsewhere"), namespace))
    await seen.ask("uid", client.create(ANALYSIS_JOBS, analysis_job(uid=FOREIGN_UID), namespace))
    await seen.ask("deleted", client.create(ANALYSIS_JOBS, analysis_job(
        "deleted", deletionTimestamp="2026-01-02T03:04:05Z", deletionGracePeriodSeconds=0), namespace))  # fmt: skip
    await seen.ask("generation", client.create(ANALYSIS_JOBS, analysis_job("generation", generation=9), namespace))
    await seen.ask("no video", client.create(ANALYSIS_JOBS, analysis_job("none", {"videoUrl": None}), namespace))
    both = {"videoUrlFrom": {"name": "secret", "key": "url"}}
    await seen.ask("two videos", client.create(ANALYSIS_JOBS, analysis_job("both", both), namespace))
    await seen.listed("listed", client, ANALYSIS_JOBS)
    return seen.lines


async def what_is_not_there_is_not_found(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for resource in (ANALYSIS_JOBS, JOBS, PODS, LEASES):
        await seen.ask("get", client.get(resource, "absent", namespace))
        await seen.ask("patch", client.patch(resource, "absent", namespace, {"metadata": {"labels": {"a": "b"}}}))
        await seen.ask("delete", client.delete(resource, "absent", namespace))
    for resource in (ANALYSIS_JOBS, JOBS, PODS):
        await seen.ask("status", client.patch_status(resource, "absent", namespace, {"status": {}}))
    await seen.ask("patch of another", client.patch(ANALYSIS_JOBS, "absent", namespace, {
        "metadata": {"uid": FOREIGN_UID, "resourceVersion": "5"}}))  # fmt: skip
    return seen.lines


async def a_version_guards_a_patch(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    bodies = ((ANALYSIS_JOBS, analysis_job()), (JOBS, kubernetes_job()), (PODS, pod()), (LEASES, lease()))
    for resource, body in bodies:
        first = await seen.ask("created", client.create(resource, body, namespace))
        name, old = first["metadata"]["name"], first["metadata"]["resourceVersion"]

        def labelled(label: str, **metadata: str) -> dict[str, object]:
            return {"metadata": {"labels": {label: "x"}} | metadata}

        await seen.ask("none", client.patch(resource, name, namespace, labelled("a")))
        await seen.ask("old", client.patch(resource, name, namespace, labelled("b", resourceVersion=old)))
        await seen.ask("never", client.patch(resource, name, namespace, labelled("b", resourceVersion="1")))
        now = (await client.get(resource, name, namespace))["metadata"]["resourceVersion"]
        await seen.ask("right", client.patch(resource, name, namespace, labelled("c", resourceVersion=now)))
        await seen.ask("right once", client.patch(resource, name, namespace, labelled("d", resourceVersion=now)))
        await seen.ask("nothing, old", client.patch(resource, name, namespace, {"metadata": {"resourceVersion": old}}))
        await seen.ask("afterwards", client.get(resource, name, namespace))
    return seen.lines


async def a_version_guards_a_patch_of_the_status(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    first = await seen.ask("created", client.create(ANALYSIS_JOBS, analysis_job(), namespace))
    old = first["metadata"]["resourceVersion"]

    def running(**metadata: str) -> dict[str, object]:
        return {"metadata": metadata, "status": {"phase": "Running"}}

    await seen.ask("status", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": {"attempt": 1}}))
    await seen.ask("old", client.patch_status(ANALYSIS_JOBS, "first", namespace, running(resourceVersion=old)))
    now = (await client.get(ANALYSIS_JOBS, "first", namespace))["metadata"]["resourceVersion"]
    await seen.ask("right", client.patch_status(ANALYSIS_JOBS, "first", namespace, running(resourceVersion=now)))
    await seen.ask("spec", client.patch(ANALYSIS_JOBS, "first", namespace, {
        "metadata": {"resourceVersion": now}, "spec": {"cancel": True}}))  # fmt: skip
    return seen.lines


async def a_uid_guards_a_patch(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for resource, body in ((ANALYSIS_JOBS, analysis_job()), (JOBS, kubernetes_job()), (PODS, pod())):
        first = await seen.ask("created", client.create(resource, body, namespace))
        name, version = first["metadata"]["name"], first["metadata"]["resourceVersion"]
        label = {"labels": {"a": "b"}}
        for what, metadata in (
            ("wrong", {"uid": FOREIGN_UID}),
            ("wrong, right version", {"uid": FOREIGN_UID, "resourceVersion": version}),
            ("wrong, wrong version", {"uid": FOREIGN_UID, "resourceVersion": "1"}),
            ("right, wrong version", {"uid": first["metadata"]["uid"], "resourceVersion": "1"}),
            ("right, right version", {"uid": first["metadata"]["uid"], "resourceVersion": version}),
        ):
            await seen.ask(what, client.patch(resource, name, namespace, {"metadata": metadata | label}))
        await seen.ask("afterwards", client.get(resource, name, namespace))
    return seen.lines


async def a_uid_guards_a_patch_of_the_status(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    statuses = (
        (ANALYSIS_JOBS, analysis_job(), {"attempt": 1}),
        (PODS, pod(), {"reason": "Testing"}),
    )
    for resource, body, status in statuses:
        first = await seen.ask("created", client.create(resource, body, namespace))
        name, version = first["metadata"]["name"], first["metadata"]["resourceVersion"]
        for what, metadata in (
            ("wrong, wrong version", {"uid": FOREIGN_UID, "resourceVersion": "1"}),
            ("wrong, right version", {"uid": FOREIGN_UID, "resourceVersion": version}),
            ("wrong", {"uid": FOREIGN_UID}),
        ):
            body = {"metadata": metadata, "status": status}
            await seen.ask(what, client.patch_status(resource, name, namespace, body))
        await seen.ask("afterwards", client.get(resource, name, namespace))
    return seen.lines


async def a_patch_that_changes_nothing_is_no_write(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    bodies = (
        (ANALYSIS_JOBS, analysis_job(labels={"a": "b"})),
        (JOBS, kubernetes_job(labels={"a": "b"})),
        (PODS, pod(labels={"a": "b"})),
        (LEASES, lease()),
    )
    for resource, body in bodies:
        first = await seen.ask("created", client.create(resource, body, namespace))
        name, version = first["metadata"]["name"], first["metadata"]["resourceVersion"]
        # The first patch of a custom resource does write, so only its answer has the version that is current. With
        # the older one a real API server answers by the age of its cache: a conflict, or that all is as it should be.
        current = await seen.ask("empty", client.patch(resource, name, namespace, {}))
        for what, patch in (
            ("version", {"metadata": {"resourceVersion": current["metadata"]["resourceVersion"]}}),
            ("same label", {"metadata": {"labels": body["metadata"].get("labels")}}),
            ("null of what is not there", {"metadata": {"labels": {"absent": None}, "finalizers": None}}),
            ("empty annotations", {"metadata": {"annotations": {}}}),
            ("empty finalizers", {"metadata": {"finalizers": []}}),
            ("same spec", {"spec": first["spec"]}),
            ("status", {"status": {"phase": "Running"}} if resource is not LEASES else {}),
            ("times", {"metadata": {"creationTimestamp": first["metadata"]["creationTimestamp"]}}),
        ):
            await seen.ask(what, client.patch(resource, name, namespace, patch))
        await seen.watched("told", client, resource, version)
    return seen.lines


async def a_status_patch_that_changes_nothing_is_no_write(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
    await client.create(PODS, pod(), namespace)
    first = await seen.ask("AnalysisJob", client.patch_status(ANALYSIS_JOBS, "first", namespace, {
        "status": {"phase": "Running", "attempt": 1}}))  # fmt: skip
    version = first["metadata"]["resourceVersion"]
    for status in ({}, {"phase": "Running"}, {"attempt": 1}, {"nextAttemptAt": None}, {"replay": None}):
        await seen.ask("again", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": status}))
    await seen.watched("told", client, ANALYSIS_JOBS, version)
    await seen.ask("pod", client.patch_status(PODS, "pod", namespace, {"status": {"phase": "Pending"}}))
    return seen.lines


async def null_removes_and_lists_are_replaced(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    body = analysis_job(
        spec={"retryDelaysSeconds": [1, 2], "timeoutSeconds": 60}, labels={"a": "1", "b": "2"}, annotations={"c": "3"}
    )
    await seen.ask("created", client.create(ANALYSIS_JOBS, body, namespace))
    for what, patch in (
        ("a label", {"metadata": {"labels": {"a": None}}}),
        ("the last label", {"metadata": {"labels": {"b": None}}}),
        ("all annotations", {"metadata": {"annotations": None}}),
        ("a field", {"spec": {"timeoutSeconds": None}}),
        ("a field with a default", {"spec": {"priority": None}}),
        ("a list", {"spec": {"retryDelaysSeconds": [3]}}),
        ("a new map", {"metadata": {"labels": {"x": "y", "z": None}}}),
    ):
        await seen.ask(what, client.patch(ANALYSIS_JOBS, "first", namespace, patch))
    for what, status in (
        ("set", {"attempt": 1, "queueName": "q", "attempts": [{"attempt": 1, "jobName": "n"}]}),
        ("removed", {"queueName": None, "attempts": None}),
        ("default", {"attempt": None, "phase": None}),
        ("all", None),
    ):
        await seen.ask(what, client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": status}))
    await seen.ask("Job", client.create(JOBS, kubernetes_job(annotations={"a": "1"}), namespace))
    await seen.ask("its last", client.patch(JOBS, "work", namespace, {"metadata": {"annotations": {"a": None}}}))
    return seen.lines


async def the_status_is_patched_by_itself(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await seen.ask("created", client.create(ANALYSIS_JOBS, analysis_job(), namespace))
    both = {"metadata": {"labels": {"a": "b"}}, "spec": {"cancel": True}, "status": {"phase": "Running"}}
    await seen.ask("status", client.patch_status(ANALYSIS_JOBS, "first", namespace, both))
    await seen.ask("not status", client.patch(ANALYSIS_JOBS, "first", namespace, both | {"status": {"attempt": 7}}))
    await seen.ask("only status", client.patch(ANALYSIS_JOBS, "first", namespace, {"status": {"attempt": 7}}))
    await seen.ask("only spec", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"spec": {"replay": 3}}))
    await seen.ask("queue", client.create(ANALYSIS_QUEUES, analysis_queue(), namespace))
    both = {"metadata": {"labels": {"a": "b"}}, "spec": {"mode": "Paused"}, "status": {"initialized": True}}
    await seen.ask("its status", client.patch_status(ANALYSIS_QUEUES, "queue", namespace, both))
    await seen.ask("not its status", client.patch(ANALYSIS_QUEUES, "queue", namespace, both | {"status": None}))
    await seen.ask("Job", client.create(JOBS, kubernetes_job(), namespace))
    both = {"spec": {"suspend": True}, "status": {"active": 1, "terminating": 0}}
    await seen.ask("its status", client.patch_status(JOBS, "work", namespace, both))
    await seen.ask("not its status", client.patch(JOBS, "work", namespace, both | {"status": {"active": 0}}))
    await seen.ask("pod", client.create(PODS, pod(), namespace))
    both = {"spec": {"activeDeadlineSeconds": 5}, "status": {"phase": "Running"}}
    await seen.ask("its status", client.patch_status(PODS, "pod", namespace, both))
    await seen.ask("not its status", client.patch(PODS, "pod", namespace, both | {"status": {"phase": "Failed"}}))
    return seen.lines


async def generations_count_changes_of_the_spec(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    changes = (
        (ANALYSIS_JOBS, analysis_job(), ({"priority": "LOW"}, {"priority": "LOW"}, {"cancel": True})),
        (ANALYSIS_QUEUES, analysis_queue(), ({"maxConcurrentJobs": 5}, {"maxConcurrentJobs": None})),
        (JOBS, kubernetes_job(), ({"suspend": True}, {"suspend": True}, {"suspend": False})),
        (PODS, pod(), ({"activeDeadlineSeconds": 9},)),
    )
    for resource, body, specs in changes:
        name = body["metadata"]["name"]
        await seen.ask("created", client.create(resource, body, namespace))
        for spec in specs:
            await seen.ask("spec", client.patch(resource, name, namespace, {"spec": spec}))
        labels = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}
        await seen.ask("labels", client.patch(resource, name, namespace, labels))
        await seen.ask("both", client.patch(resource, name, namespace, {"metadata": {"generation": 77}}))
    return seen.lines


async def leases_are_taken_by_one(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    first = await seen.ask("created", client.create(LEASES, lease(), namespace))
    await seen.ask("created again", client.create(LEASES, lease(holderIdentity="b"), namespace))
    version = first["metadata"]["resourceVersion"]

    def taken(by: str, version: str) -> dict[str, object]:
        spec = {"holderIdentity": by, "leaseTransitions": 1, "acquireTime": "2026-01-02T03:04:06.000000Z"}
        return {"metadata": {"resourceVersion": version}, "spec": spec}

    renewed = await seen.ask("taken", client.patch(LEASES, "lease", namespace, taken("b", version)))
    await seen.ask("too late", client.patch(LEASES, "lease", namespace, taken("c", version)))
    version = renewed["metadata"]["resourceVersion"]
    renewal = {"metadata": {"resourceVersion": version}, "spec": {"renewTime": "2026-01-02T03:04:09.000000Z"}}
    await seen.ask("renewed", client.patch(LEASES, "lease", namespace, renewal))
    await seen.ask("renewed twice", client.patch(LEASES, "lease", namespace, renewal))
    await seen.ask("released", client.patch(LEASES, "lease", namespace, {"spec": {"holderIdentity": None}}))
    return seen.lines


async def a_token_of_nobody_is_not_authenticated(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for token in ("nonsense", "worker:default/pod/uid", "a.b.c"):
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {"token": token, "audiences": ["klipstream"]}}  # fmt: skip
        status = (await client.create(TOKEN_REVIEWS, body)).get("status") or {}
        seen.note("review", {"authenticated": status.get("authenticated", False), "user": status.get("user") or {}})
    return seen.lines


async def the_pod_template_of_a_job_stays(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    image = {"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "other"}]}}}}
    for name, suspend in (("work", False), ("suspended", True)):
        await seen.ask("created", client.create(JOBS, kubernetes_job(name, {"suspend": suspend}), namespace))
        for what, patch in (
            ("image", image),
            ("deadline", {"spec": {"template": {"spec": {"activeDeadlineSeconds": 9}}}}),
            ("completions", {"spec": {"completions": 2}}),
            ("policy", {"spec": {"podReplacementPolicy": "TerminatingOrFailed"}}),
            ("the same", {"spec": {"template": pod_template()}}),
            ("image and suspend", {"spec": {"suspend": not suspend} | image["spec"]}),
            ("suspend", {"spec": {"suspend": not suspend}}),
            ("back", {"spec": {"suspend": suspend}}),
            ("annotation", {"metadata": {"annotations": {"fenced": "yes"}}}),
        ):
            await seen.ask(what, client.patch(JOBS, name, namespace, patch))
    return seen.lines


async def the_end_of_a_pod_is_written_to_its_status(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await seen.ask("created", client.create(PODS, pod(), namespace))
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "pod"},
               "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}  # fmt: skip
    path = PODS.path(namespace, "pod", "binding")
    bound = await seen.ask("bound", client.request("POST", path, body=binding))
    assert bound is not None
    await seen.ask("bound again", client.request("POST", path, body=binding))
    await seen.ask("read", client.get(PODS, "pod", namespace))
    running = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
    ended = {"terminated": {"exitCode": 3, "reason": "Error", "message": "no", "startedAt": "2026-01-02T03:04:05Z",
                            "finishedAt": "2026-01-02T03:04:06Z", "containerID": "fake://1"}}  # fmt: skip
    for what, status, state in (
        ("started", {"phase": "Running", "startTime": "2026-01-02T03:04:05Z"}, running),
        (
            "disrupted",
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "Testing",
                        # The disruption controller takes back what has stood for two minutes.
                        "lastTransitionTime": "2036-01-02T03:04:05Z",
                    }
                ]
            },
            running,
        ),
        ("ended", {"phase": "Failed", "reason": "NodeLost", "message": "gone"}, ended),
    ):
        containers = [{"name": "worker", "image": "none", "imageID": "", "ready": state is running, "restartCount": 0,
                       "state": state}]  # fmt: skip
        body = {"status": status | {"containerStatuses": containers}}
        await seen.ask(what, client.patch_status(PODS, "pod", namespace, body))
    return seen.lines


async def events_are_created(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": "pod"}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "pod.1"}, "involvedObject": about,
             "reason": "Tested", "message": "A test.", "type": "Normal"}  # fmt: skip
    await seen.ask("created", client.create(EVENTS, event, namespace))
    await seen.ask("again", client.create(EVENTS, event, namespace))
    return seen.lines


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        created_objects_are_filled_in,
        a_taken_name_is_refused,
        a_dry_run_stores_nothing,
        creations_that_make_no_sense_are_refused,
        what_is_not_there_is_not_found,
        a_version_guards_a_patch,
        a_version_guards_a_patch_of_the_status,
        a_uid_guards_a_patch,
        a_uid_guards_a_patch_of_the_status,
        a_patch_that_changes_nothing_is_no_write,
        a_status_patch_that_changes_nothing_is_no_write,
        null_removes_and_lists_are_replaced,
        the_status_is_patched_by_itself,
        generations_count_changes_of_the_spec,
        leases_are_taken_by_one,
        a_token_of_nobody_is_not_authenticated,
        the_pod_template_of_a_job_stays,
        the_end_of_a_pod_is_written_to_its_status,
        events_are_created,
    )
}
