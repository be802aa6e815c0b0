"""Keeping a local picture of a collection: list, then watch, for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, NamedTuple

from .ahead import read_ahead
from .backoff import Backoff
from .client import Client, Object
from .errors import ApiError, Forbidden, Gone, NotFound, TooManyRequests, Unreachable
from .resources import Resource

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0
# A watch that lived this long, or that brought anything, was no failure; one that ends at once is.
_SHORT_WATCH_SECONDS = 5.0
# So many failures in a row are a state and no hiccup.
_SUSPICIOUS = 3


class _Key(NamedTuple):
    namespace: str | None
    name: str


class _Seen(NamedTuple):
    uid: str
    resource_version: str


class Reflector:
    """Feeds every object of a collection, and every change, to callbacks; survives whatever the server does.

    After a restart of the server or a compaction it resumes or lists again; what disappeared in between is
    reported to `on_delete` as {"metadata": {name, namespace, uid, resourceVersion}} of the last sight. An
    object deleted and created again under its name meanwhile yields `on_delete` of the old uid first.
    `on_upsert` may see the same version of an object twice, never an older one after a newer (but for a
    store that was restored from a backup). `on_synced` follows every complete list, and before it
    `on_listed` with its resourceVersion and the uids of its objects: whoever knows more than was reported, such as what
    it created itself, learns that it is gone.

    `synced` is set by the first complete list. `problem` says, for a readiness probe, what keeps the
    picture from being current and what to do about it; None while all is well. Callbacks are synchronous
    and quick; what they raise ends `run`.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_upsert: Callable[[Object], None],
        on_delete: Callable[[Object], None],
        on_listed: Callable[[int, set[str]], None] | None = None,
        on_synced: Callable[[], None] | None = None,
        log: logging.Logger,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._selectors: dict[str, Any] = {"label_selector": label_selector, "field_selector": field_selector}
        self._on_upsert = on_upsert
        self._on_delete = on_delete
        self._on_listed = on_listed
        self._on_synced = on_synced
        self._log = log
        self._seen: dict[_Key, _Seen] = {}
        self._version: str | None = None  # None: list before the next watch
        self._verb = "list"
        self._backoff = Backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        self.synced = asyncio.Event()
        self.problem: str | None = None

    @property
    def name(self) -> str:
        """The collection in words, such as "jobs.batch in klipstream"."""
        return self._resource.qualified_name + (f" in {self._namespace}" if self._namespace else "")

    @property
    def version(self) -> int:
        """The resourceVersion up to which everything was reported; 0 before a list and once a watch gave up."""
        return int(self._version or 0)

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                if await self._watch():
                    self._backoff.reset()
                else:
                    if self._backoff.failures >= _SUSPICIOUS:
                        self._version = None
                    await self._wait()
            except Gone:
                self._version = None
                if self._backoff.failures:  # the list brought nothing newer: do not spin
                    await self._wait()
                else:
                    self._backoff.next_seconds()
            except (ApiError, Unreachable) as error:
                self._failed(error)
                await self._wait(getattr(error, "retry_after_seconds", None) or 0.0)

    async def _list(self) -> None:
        self._verb = "list"
        listed: dict[_Key, str] = {}
        version = ""
        pages = self._client.list_pages(self._resource, self._namespace, **self._selectors)
        async with aclosing(read_ahead(pages)) as ahead:
            async for page in ahead:
                version = page["metadata"]["resourceVersion"]
                for item in page.get("items") or []:
                    # Items of a list do not carry what the list itself says once.
                    item.setdefault("apiVersion", self._resource.api_version)
                    item.setdefault("kind", self._resource.kind)
                    listed[_key(item)] = item["metadata"]["uid"]
                    self._upsert(item)
        for key in [key for key in self._seen if key not in listed]:
            self._forget(key)
        self._version = version
        self.synced.set()
        if self._on_listed is not None:
            self._on_listed(int(version), set(listed.values()))
        if self._on_synced is not None:
            self._on_synced()

    async def _watch(self) -> bool:
        """Follow the changes until the server ends the watch; whether it was of any use."""
        assert self._version is not None
        self._verb = "watch"
        opened_at: float | None = None
        brought = False

        def opened() -> None:
            nonlocal opened_at
            opened_at = time.monotonic()
            self._recovered()

        stream = self._client.watch(
            self._resource, self._namespace, resource_version=self._version, on_open=opened, **self._selectors
        )
        try:
            async with aclosing(stream) as events:
                async for kind, item in events:
                    version = item["metadata"]["resourceVersion"]
                    if int(version) < int(self._version):
                        self._log.warning(
                            "%s: the store went back from version %s to %s (restored?): listing again",
                            self._resource.qualified_name, self._version, version,
                        )  # fmt: skip
                        self._version = None
                        return brought
                    if kind == "DELETED":
                        self._delete(item)
                    elif kind != "BOOKMARK":
                        self._upsert(item)
                    self._version, brought = version, True
        except Unreachable as error:
            if opened_at is None:
                raise
            # Servers restart, proxies cut: only a watch that cannot be opened again is a problem.
            self._log.info("%s: watch lost, resuming: %s", self._resource.qualified_name, error)
        return brought or time.monotonic() - (opened_at or 0.0) >= _SHORT_WATCH_SECONDS

    def _upsert(self, item: Object) -> None:
        metadata = item["metadata"]
        key, seen = _key(item), _Seen(metadata["uid"], metadata["resourceVersion"])
        before = self._seen.get(key)
        if before is not None and before.uid != seen.uid:
            self._forget(key)
        self._seen[key] = seen
        self._on_upsert(item)

    def _delete(self, item: Object) -> None:
        before = self._seen.get(_key(item))
        if before is not None and before.uid == item["metadata"]["uid"]:
            del self._seen[_key(item)]
            self._on_delete(item)

    def _forget(self, key: _Key) -> None:
        """Report the deletion of an object whose end was not seen."""
        seen = self._seen.pop(key)
        metadata = {"name": key.name, "uid": seen.uid, "resourceVersion": seen.resource_version}
        if key.namespace is not None:
            metadata["namespace"] = key.namespace
        self._on_delete({"metadata": metadata})

    async def _wait(self, asked_seconds: float = 0.0) -> None:
        await asyncio.sleep(max(asked_seconds, self._backoff.next_seconds()))

    def _failed(self, error: ApiError | Unreachable) -> None:
        if isinstance(error, ApiError) and self._verb == "watch" and error.status not in (403, 429):
            self._version = None  # the server does not want this watch: begin from what it has
        if isinstance(error, TooManyRequests) and self._backoff.failures < _SUSPICIOUS:
            return  # asked to wait, as every client is while a new CRD's storage gets ready
        problem = self._explain(error)
        if problem != self.problem:
            self.problem = problem
            self._log.error("%s", problem)

    def _recovered(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._log.warning("%s: well again", self._resource.qualified_name)

    def _explain(self, error: ApiError | Unreachable) -> str:
        name, server = self._resource.qualified_name, self._client.connection.server
        if isinstance(error, Unreachable):
            return f"the API server {server} does not answer ({self._verb} {name}); trying on"
        if isinstance(error, NotFound):
            return (
                f"the server does not know {name} {self._resource.version}: install the CRDs "
                "(helm install …, or kubectl apply -f crds/)"
            )
        if isinstance(error, Forbidden):
            where = f'in namespace "{self._namespace}"' if self._namespace else "in all namespaces"
            return f'the role of this account lacks "{self._verb}" on {name} {where}: {error.message}'
        return f"cannot {self._verb} {name} at {server}: {error}"


def _key(item: Object) -> _Key:
    metadata = item["metadata"]
    return _Key(metadata.get("namespace"), metadata["name"])
