"""Cases about deleting."""

from __future__ import annotations

from klipsim.conformance.bodies import ANALYSIS_JOBS, NODE, analysis_job, kubernetes_job, lease, pod
from klipsim.conformance.sites import Case
from klipsim.conformance.transcript import Transcript
from klipsim.conformance.writes import FOREIGN_UID
from klipsim.objects import Object
from klipstream_kube import JOBS, LEASES, PODS, Client, Resource

KEEP, KEEP_TOO = "example.com/keep", "example.com/keep-too"


async def ended_at_once(client: Client, resource: Resource, name: str, namespace: str, **options: object) -> None:
    """A deletion with other options than the client's own."""
    await client.request("DELETE", resource.path(namespace, name), body=options)


async def deleted_objects_are_gone(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    bodies = ((ANALYSIS_JOBS, analysis_job()), (JOBS, kubernetes_job()), (PODS, pod()), (LEASES, lease()))
    for resource, body in bodies:
        name = body["metadata"]["name"]
        first = await seen.ask("created", client.create(resource, body, namespace))
        await seen.ask("deleted", client.delete(resource, name, namespace))
        await seen.ask("read", client.get(resource, name, namespace))
        await seen.ask("deleted again", client.delete(resource, name, namespace))
        await seen.ask("created again", client.create(resource, body, namespace))
        await seen.watched("told", client, resource, first["metadata"]["resourceVersion"])
    return seen.lines


async def preconditions_guard_a_deletion(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    bodies = ((ANALYSIS_JOBS, analysis_job()), (JOBS, kubernetes_job()), (PODS, pod()))
    for resource, body in bodies:
        name = body["metadata"]["name"]
        first = await seen.ask("created", client.create(resource, body, namespace))
        uid, old = first["metadata"]["uid"], first["metadata"]["resourceVersion"]
        changed = await client.patch(resource, name, namespace, {"metadata": {"labels": {"a": "b"}}})
        version = changed["metadata"]["resourceVersion"]
        for what, options in (
            ("wrong uid", {"uid": FOREIGN_UID}),
            ("old version", {"resource_version": old}),
            ("right uid, old version", {"uid": uid, "resource_version": old}),
            ("wrong uid, right version", {"uid": FOREIGN_UID, "resource_version": version}),
            ("right uid", {"uid": uid} if resource is JOBS else {"uid": uid, "resource_version": version}),
            ("gone", {"uid": uid}),
        ):
            await seen.ask(what, client.delete(resource, name, namespace, **options))
    return seen.lines


async def finalizers_hold_a_deleted_object(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for resource, body in ((ANALYSIS_JOBS, analysis_job()), (JOBS, kubernetes_job()), (PODS, pod())):
        name = body["metadata"]["name"]
        held = body | {"metadata": body["metadata"] | {"finalizers": [KEEP, KEEP_TOO]}}
        first = await seen.ask("created", client.create(resource, held, namespace))

        def finalizers(*kept: str, **metadata: object) -> Object:
            return {"metadata": {"finalizers": list(kept)} | metadata}

        await seen.ask("deleted", client.delete(resource, name, namespace))
        await seen.ask("read", client.get(resource, name, namespace))
        await seen.ask("deleted again", client.delete(resource, name, namespace))
        await seen.ask("read", client.get(resource, name, namespace))
        await seen.ask("name taken", client.create(resource, body, namespace))
        await seen.ask("label", client.patch(resource, name, namespace, {"metadata": {"labels": {"a": "b"}}}))
        await seen.ask("one less", client.patch(resource, name, namespace, finalizers(KEEP)))
        await seen.ask("undeleted", client.patch(resource, name, namespace, {"metadata": {"deletionTimestamp": None}}))
        await seen.ask("last", client.patch(resource, name, namespace, finalizers(labels={"c": "d"})))
        await seen.ask("read", client.get(resource, name, namespace))
        await seen.watched("told", client, resource, first["metadata"]["resourceVersion"])
        await seen.ask("created again", client.create(resource, body, namespace))
    return seen.lines


async def a_deleted_object_can_still_be_written(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    first = await seen.ask("created", client.create(ANALYSIS_JOBS, analysis_job(finalizers=[KEEP]), namespace))
    await seen.ask("deleted", client.delete(ANALYSIS_JOBS, "first", namespace))
    await seen.ask("spec", client.patch(ANALYSIS_JOBS, "first", namespace, {"spec": {"cancel": True}}))
    await seen.ask("status", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": {"phase": "Running"}}))
    await seen.ask("null", client.patch(ANALYSIS_JOBS, "first", namespace, {"metadata": {"finalizers": None}}))
    await seen.watched("told", client, ANALYSIS_JOBS, first["metadata"]["resourceVersion"])
    return seen.lines


async def bound(client: Client, namespace: str, name: str, **metadata: object) -> Object:
    """A pod on a node that nobody looks after."""
    await client.create(PODS, pod(name, **metadata), namespace)
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
               "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}  # fmt: skip
    await client.request("POST", PODS.path(namespace, name, "binding"), body=binding)
    return await client.get(PODS, name, namespace)


async def a_pod_on_a_node_has_time_to_end(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for finalizers in ([], [KEEP]):
        name = "held" if finalizers else "free"
        first = await bound(client, namespace, name, finalizers=finalizers)
        await seen.ask("deleted", client.delete(PODS, name, namespace))
        await seen.ask("read", client.get(PODS, name, namespace))
        await seen.ask("deleted again", client.delete(PODS, name, namespace))
        await seen.ask("longer", ended_at_once(client, PODS, name, namespace, gracePeriodSeconds=20))
        await seen.ask("shorter", ended_at_once(client, PODS, name, namespace, gracePeriodSeconds=3))
        await seen.ask("read", client.get(PODS, name, namespace))
        ended = {"status": {"phase": "Failed"}}
        await seen.ask("ended", client.patch_status(PODS, name, namespace, ended))
        await seen.ask("deleted when ended", client.delete(PODS, name, namespace))
        await seen.ask("read", client.get(PODS, name, namespace))
        await seen.ask("at once", ended_at_once(client, PODS, name, namespace, gracePeriodSeconds=0))
        await seen.ask("read", client.get(PODS, name, namespace))
        if finalizers:
            await seen.ask("let go", client.patch(PODS, name, namespace, {"metadata": {"finalizers": None}}))
            await seen.ask("read", client.get(PODS, name, namespace))
        await seen.watched("told", client, PODS, first["metadata"]["resourceVersion"])
    return seen.lines


async def a_held_pod_is_let_go_before_it_has_ended(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    first = await bound(client, namespace, "held", finalizers=[KEEP])
    await seen.ask("deleted", client.delete(PODS, "held", namespace))
    await seen.ask("let go", client.patch(PODS, "held", namespace, {"metadata": {"finalizers": None}}))
    await seen.ask("read", client.get(PODS, "held", namespace))
    await seen.ask("at once", ended_at_once(client, PODS, "held", namespace, gracePeriodSeconds=0))
    await seen.ask("read", client.get(PODS, "held", namespace))
    await seen.watched("told", client, PODS, first["metadata"]["resourceVersion"])
    return seen.lines


async def an_ended_pod_goes_at_once(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for phase in ("Succeeded", "Failed"):
        name = phase.lower()
        first = await bound(client, namespace, name)
        await seen.ask("ended", client.patch_status(PODS, name, namespace, {"status": {"phase": phase}}))
        await seen.ask("deleted", client.delete(PODS, name, namespace))
        await seen.ask("read", client.get(PODS, name, namespace))
        await seen.watched("told", client, PODS, first["metadata"]["resourceVersion"])
    return seen.lines


async def a_pod_without_a_node_goes_at_once(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for name, finalizers in (("free", []), ("held", [KEEP])):
        first = await seen.ask("created", client.create(PODS, pod(name, finalizers=finalizers), namespace))
        await seen.ask("deleted", client.delete(PODS, name, namespace))
        await seen.ask("read", client.get(PODS, name, namespace))
        if finalizers:
            let_go = {"metadata": {"finalizers": None}}
            await seen.ask("let go", client.patch(PODS, name, namespace, let_go))
        await seen.watched("told", client, PODS, first["metadata"]["resourceVersion"])
    return seen.lines


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        deleted_objects_are_gone,
        preconditions_guard_a_deletion,
        finalizers_hold_a_deleted_object,
        a_deleted_object_can_still_be_written,
        a_pod_on_a_node_has_time_to_end,
        a_held_pod_is_let_go_before_it_has_ended,
        an_ended_pod_goes_at_once,
        a_pod_without_a_node_goes_at_once,
    )
}
