"""Cases about lists and watches."""

from __future__ import annotations

from contextlib import aclosing

from klipsim.conformance.bodies import ANALYSIS_JOBS, analysis_job, kubernetes_job, pod
from klipsim.conformance.sites import Case
from klipsim.conformance.transcript import Transcript
from klipsim.objects import Object
from klipstream_kube import JOBS, PODS, Client

COLOUR = "example.com/colour"


async def selectors_choose(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for name, labels, spec in (
        ("c", {COLOUR: "red", "size": "1"}, {"priority": "LOW", "videoId": "v1"}),
        ("a", {COLOUR: "red"}, {}),
        ("b", {COLOUR: "blue"}, {"priority": "URGENT"}),
        ("d", {}, {"queueName": "q"}),
    ):
        await client.create(ANALYSIS_JOBS, analysis_job(name, spec, labels=labels), namespace)
    await client.patch_status(ANALYSIS_JOBS, "a", namespace, {"status": {"phase": "Running", "queueName": "q"}})
    for chosen in (None, COLOUR, f"{COLOUR}=red", f"{COLOUR}==red", f"{COLOUR}=red,size", "absent", f"{COLOUR}="):
        await seen.listed(f"labels {chosen}", client, ANALYSIS_JOBS, labels=chosen)
    for fields in (
        "metadata.name=a", "status.phase=Queued", "status.phase=Running", "spec.priority=NORMAL", "spec.videoId=v1",
        "spec.videoId=", "status.queueName=q", "status.phase=Queued,spec.priority=URGENT",
    ):  # fmt: skip
        await seen.listed(f"fields {fields}", client, ANALYSIS_JOBS, fields=fields)
    await seen.listed("both", client, ANALYSIS_JOBS, labels=COLOUR, fields="status.phase=Queued")
    for name in ("p", "o"):
        await client.create(PODS, pod(name, labels={COLOUR: name}), namespace)
    await seen.listed("pods", client, PODS, labels=COLOUR)
    await seen.listed("pending pods", client, PODS, fields="status.phase=Pending")
    await seen.listed("one pod", client, PODS, fields="metadata.name=o")
    return seen.lines


async def page(client: Client, namespace: str, **params: str) -> Object:
    """A page of AnalysisJobs."""
    return await client.request("GET", ANALYSIS_JOBS.path(namespace), params=params)


def shown(answer: Object) -> Object:
    """What a page is made of."""
    metadata = answer["metadata"]
    return {
        "kind": answer["kind"], "names": [item["metadata"]["name"] for item in answer["items"]],
        "more": bool(metadata.get("continue")), "remaining": metadata.get("remainingItemCount"),
    }  # fmt: skip


async def pages_show_one_moment(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    for name in "abcde":
        await client.create(ANALYSIS_JOBS, analysis_job(name), namespace)
    first = await page(client, namespace, limit="2")
    seen.note("first", shown(first))
    await client.create(ANALYSIS_JOBS, analysis_job("cc"), namespace)
    await client.delete(ANALYSIS_JOBS, "d", namespace)
    await client.patch(ANALYSIS_JOBS, "e", namespace, {"metadata": {"labels": {"a": "b"}}})
    second = await page(client, namespace, limit="2", **{"continue": first["metadata"]["continue"]})
    seen.note("second", shown(second))
    third = await page(client, namespace, limit="2", **{"continue": second["metadata"]["continue"]})
    seen.note("third", shown(third))
    seen.note("labels then", third["items"][0]["metadata"].get("labels", {}))
    versions = {answer["metadata"]["resourceVersion"] for answer in (first, second, third)}
    seen.note("one version", len(versions) == 1)
    again = await page(client, namespace, limit="2", **{"continue": first["metadata"]["continue"]})
    seen.note("second again", shown(again))
    seen.note("exactly", shown(await page(client, namespace, limit="5")))
    seen.note("more than there are", shown(await page(client, namespace, limit="50")))
    seen.note("selected", shown(await page(client, namespace, limit="1", labelSelector="a=b")))
    await seen.watched("since then", client, ANALYSIS_JOBS, versions.pop())
    return seen.lines


async def watches_tell_what_happened_since(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    _, empty = await client.list(ANALYSIS_JOBS, namespace)
    first = await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
    await client.patch(ANALYSIS_JOBS, "first", namespace, {"spec": {"cancel": True}})
    status = await client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": {"phase": "Running"}})
    await client.create(ANALYSIS_JOBS, analysis_job("second"), namespace)
    await client.delete(ANALYSIS_JOBS, "first", namespace)
    await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
    _, now = await client.list(ANALYSIS_JOBS, namespace)
    await seen.watched("from the empty list", client, ANALYSIS_JOBS, empty)
    await seen.watched("from the first version", client, ANALYSIS_JOBS, first["metadata"]["resourceVersion"])
    await seen.watched("from the status", client, ANALYSIS_JOBS, status["metadata"]["resourceVersion"])
    await seen.watched("from now", client, ANALYSIS_JOBS, now)
    await seen.watched("another kind", client, JOBS, empty)
    return seen.lines


async def watches_tell_what_begins_and_ends_to_match(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    _, empty = await client.list(ANALYSIS_JOBS, namespace)

    async def paint(colour: str | None) -> None:
        await client.patch(ANALYSIS_JOBS, "first", namespace, {"metadata": {"labels": {COLOUR: colour}}})

    await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
    await paint("red")
    await client.patch(ANALYSIS_JOBS, "first", namespace, {"spec": {"priority": "LOW"}})
    await paint("blue")
    await client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": {"phase": "Running"}})
    await paint("red")
    await paint(None)
    await client.delete(ANALYSIS_JOBS, "first", namespace)
    await client.create(ANALYSIS_JOBS, analysis_job("second", labels={COLOUR: "red"}), namespace)
    await client.delete(ANALYSIS_JOBS, "second", namespace)
    await seen.watched("red", client, ANALYSIS_JOBS, empty, labels=f"{COLOUR}=red")
    await seen.watched("coloured", client, ANALYSIS_JOBS, empty, labels=COLOUR)
    await seen.watched("queued", client, ANALYSIS_JOBS, empty, fields="status.phase=Queued")
    await seen.watched("low", client, ANALYSIS_JOBS, empty, fields="spec.priority=LOW")
    await seen.watched("red and low", client, ANALYSIS_JOBS, empty, labels=f"{COLOUR}=red", fields="spec.priority=LOW")
    return seen.lines


async def an_open_watch_goes_on(client: Client, namespace: str) -> list[str]:
    """The versions of events rise, and each is that of the answer to the write."""
    seen = Transcript(namespace)
    _, empty = await client.list(JOBS, namespace)
    versions = []
    stream = client.watch(JOBS, namespace, resource_version=empty, timeout_seconds=20)
    written = await client.create(JOBS, kubernetes_job(), namespace)
    count = 0
    async for type_, obj in stream:
        if type_ == "BOOKMARK":
            continue
        versions.append(int(obj["metadata"]["resourceVersion"]))
        seen.note(type_, {"as written": obj["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]})
        count += 1
        if count == 4:
            await client.delete(JOBS, "work", namespace)
        elif count < 4:
            written = await client.patch(JOBS, "work", namespace, {"spec": {"suspend": bool(count % 2)}})
        else:
            break
    await stream.aclose()
    seen.note("versions rise", versions == sorted(set(versions)))
    return seen.lines


async def a_version_of_long_ago_is_gone(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
    await seen.watched("long ago", client, ANALYSIS_JOBS, "1")
    return seen.lines


async def bookmark(client: Client, namespace: str, seconds: int) -> Object:
    """The first bookmark of a watch of so many seconds: whether it names anything but a version, and how far it is."""
    await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
    written = await client.patch(ANALYSIS_JOBS, "first", namespace, {"spec": {"priority": "LOW"}})
    version = written["metadata"]["resourceVersion"]
    for _ in range(6):  # the real one may end a watch without it
        stream = client.watch(ANALYSIS_JOBS, namespace, resource_version=version, timeout_seconds=seconds)
        async with aclosing(stream) as events:
            async for type_, obj in events:
                if type_ == "BOOKMARK":
                    metadata = obj["metadata"]
                    return {
                        "kind": obj["kind"], "apiVersion": obj["apiVersion"], "uid": metadata.get("uid"),
                        "name": metadata.get("name"), "not before": int(metadata["resourceVersion"]) >= int(version),
                    }  # fmt: skip
    return {}


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        selectors_choose,
        pages_show_one_moment,
        watches_tell_what_happened_since,
        watches_tell_what_begins_and_ends_to_match,
        an_open_watch_goes_on,
        a_version_of_long_ago_is_gone,
    )
}
