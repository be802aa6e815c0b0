"""The verbs of the Kubernetes API, on plain dicts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp

from .errors import Conflict, Gone, Invalid
from .resources import PODS, Resource
from .transport import Fence, Transport
from .watch import events

Object = dict[str, Any]
Objects = list[Object]

_LIST_RESTARTS = 5
_PATCHES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}


class Client(Transport):
    """Reads and guarded writes. Objects are the API's own, as dicts.

    Reads are retried. A write is sent again only when the server said that it did nothing; when its
    answer is lost, Unreachable leaves it to the caller to read live and decide again.
    """

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """One object, read live (not from a cache that may lag)."""
        path = resource.path(namespace, name)
        return await self.request("GET", path, resource=resource.qualified_name, verb="get")

    async def list_pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page_size: int = 500,
    ) -> AsyncGenerator[Object]:
        """The List objects of one consistent snapshot, `page_size` items each.

        Raises Gone when the snapshot was compacted away between two pages: begin again.
        """
        params = _selectors(label_selector, field_selector) | {"limit": str(page_size)}
        while True:
            page = await self.request(
                "GET",
                resource.path(namespace),
                params=params,
                resource=resource.qualified_name,
                verb="list",
            )
            yield page
            token = page["metadata"].get("continue")
            if not token:
                return
            params["continue"] = token

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page_size: int = 500,
    ) -> tuple[Objects, str]:
        """All objects of one consistent snapshot and its resourceVersion, to begin a watch at."""
        for restarts_left in reversed(range(_LIST_RESTARTS)):
            items: Objects = []
            version = ""
            try:
                async for page in self.list_pages(
                    resource,
                    namespace,
                    label_selector=label_selector,
                    field_selector=field_selector,
                    page_size=page_size,
                ):
                    items += page.get("items") or []
                    version = page["metadata"]["resourceVersion"]
            except Gone:
                if not restarts_left:
                    raise
                continue
            return items, version
        raise AssertionError("unreachable")

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        *,
        before_send: Callable[[], None] | None = None,
        retry: bool = False,
        dry_run: bool = False,
    ) -> Object:
        """Create an object; AlreadyExists when the name is taken. A dry run is judged and not stored.

        `before_send` is called immediately before every send and may raise to prevent it. Only a 429 is
        sent again, unless `retry`: then AlreadyExists may mean that an earlier send did it.
        """
        return await self.request(
            "POST",
            resource.path(namespace),
            params={"dryRun": "All"} if dry_run else None,
            body=body,
            resource=resource.qualified_name,
            before_send=before_send,
            retry=retry,
            retry_when_asked=retry,
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        body: Object | Objects,
        *,
        subresource: str | None = None,
        kind: Literal["merge", "json"] = "merge",
        before_send: Fence | None = None,
    ) -> Object:
        """Change an object and return it.

        Guarded by `metadata.resourceVersion` (and `uid`) in a merge patch, or by "test" operations in a
        JSON patch: Conflict (merge) or Invalid (json) when the object is another by now.
        """
        try:
            return await self.request(
                "PATCH",
                resource.path(namespace, name, subresource),
                body=body,
                content_type=_PATCHES[kind],
                resource=resource.qualified_name,
                before_send=before_send,
            )
        except Invalid as error:
            # Unlike a PUT or a DELETE, a patch with another uid is answered as a change of the field.
            if any(cause.get("field") == "metadata.uid" for cause in error.details.get("causes") or []):
                raise Conflict(409, "Conflict", error.message, error.details) from error
            raise

    async def patch_status(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        body: Object | Objects,
        *,
        kind: Literal["merge", "json"] = "merge",
        before_send: Fence | None = None,
    ) -> Object:
        """`patch` of the status subresource; the body still begins at the whole object ({"status": …})."""
        return await self.patch(
            resource, name, namespace, body, subresource="status", kind=kind, before_send=before_send
        )

    async def apply(
        self,
        resource: Resource,
        body: Object,
        *,
        field_manager: str,
        force: bool = False,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply: create the object or set the fields that `body` holds. Conflict when another
        manager owns one of them and not `force`."""
        params = {"fieldManager": field_manager} | ({"force": "true"} if force else {})
        metadata = body["metadata"]
        if resource.namespaced and namespace is None:
            namespace = metadata.get("namespace")
        return await self.request(
            "PATCH",
            resource.path(namespace, metadata["name"], subresource),
            params=params,
            body=body,
            content_type="application/apply-patch+yaml",  # JSON is YAML
            resource=resource.qualified_name,
            verb="apply",
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = "Background",
        before_send: Fence | None = None,
    ) -> None:
        """Delete an object; Conflict when it is not the one with `uid` or not at `resource_version`."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options["preconditions"] = {key: value for key, value in preconditions.items() if value is not None}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        path = resource.path(namespace, name)
        await self.request("DELETE", path, body=options, resource=resource.qualified_name, before_send=before_send)

    async def log(
        self,
        pod: str,
        namespace: str,
        *,
        container: str,
        tail_lines: int | None = None,
        since: datetime | None = None,
        follow: bool = False,
        idle_seconds: float | None = 30,
        total_seconds: float | None = 120,
    ) -> AsyncGenerator[bytes]:
        """The last lines of what a container wrote, or what it wrote since a moment (its node counts whole seconds), in
        chunks as they come; where a chunk ends means nothing. With `follow` it goes on until the container ends.

        Without the rotated part of the log, which kubelets do not serve. Raises NotFound without the pod, an
        ApiError where the container never ran or its node does not answer, and Unreachable when the
        connection is lost or stays silent for `idle_seconds`. Not retried here. Close it
        (contextlib.aclosing) when leaving it early.
        """
        timeout = aiohttp.ClientTimeout(total=total_seconds, sock_connect=10, sock_read=idle_seconds)
        params = {"container": container}
        if tail_lines is not None:
            params["tailLines"] = str(tail_lines)
        if since is not None:
            params["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if follow:
            params["follow"] = "true"
        async with self.exchange(
            "GET",
            PODS.path(namespace, pod, "log"),
            params=params,
            verb="log",
            resource=PODS.qualified_name,
            timeout=timeout,
        ) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int = 300,
        idle_seconds: float = 75,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[tuple[str, Object]]:
        """(type, object) of every change after `resource_version`, BOOKMARKs included.

        Ends when the server ends it, after `timeout_seconds`. Raises Gone when the version is too old,
        the ApiError of any in-band ERROR, and Unreachable when the connection is lost or stays silent for
        `idle_seconds` (a bookmark comes about every minute). Not retried here. `on_open` is called once
        the server has accepted the watch. Close it (contextlib.aclosing) when leaving it early.
        """
        params = _selectors(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=idle_seconds)
        async with self.exchange(
            "GET",
            resource.path(namespace),
            params=params,
            verb="watch",
            resource=resource.qualified_name,
            timeout=timeout,
        ) as response:
            if on_open is not None:
                on_open()
            async with aclosing(self._events(response)) as stream:
                async for event in stream:
                    yield event

    def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[tuple[str, Object]]:
        return events(response.content.iter_any())


def _selectors(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in selectors.items() if value}
