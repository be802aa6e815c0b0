"""A Convex deployment's HTTP API: one call at a time, and what it can end in.

Not the `convex` package: its client blocks the whole interpreter while a deployment does not answer.
"""

from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import orjson

CALL_SECONDS = 30.0
CONNECT_SECONDS = 10.0
REFUSALS = frozenset({"Forbidden", "Misconfigured", "Unauthenticated"})
"""Codes by which our own functions say that the credentials are wrong, whatever was sent."""


class Away(Exception):
    """No answer, or none that means anything: the same call may succeed later.

    It may have been carried out all the same: every function of ours may be called twice.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class FunctionFailed(Exception):
    """The function ran and refused its arguments, or has a bug: the same call would fail again."""


class Refused(Away):
    """The credentials or the URL are wrong, or the functions are not deployed; somebody has to act."""


class Deployment:
    """Calls functions. Use as an async context manager."""

    def __init__(self, url: str, *, secret: str | None = None, deploy_key: str | None = None) -> None:
        """With a deploy key, internal functions are called, and no secret travels in the arguments."""
        self._url = url.rstrip("/")
        self._secret = secret
        self._deploy_key = deploy_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Convex-Client": "klipstream-relay"}
        if self._deploy_key is not None:
            headers["Authorization"] = f"Convex {self._deploy_key}"
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def query(self, function: str, **args: Any) -> Any:
        """Ask, such as "sync:page". Raises Away and FunctionFailed."""
        return await self._call("query", function, args)

    async def mutation(self, function: str, **args: Any) -> Any:
        """Change, such as "queue:upsertJobs". Raises Away and FunctionFailed."""
        return await self._call("mutation", function, args)

    async def _call(self, kind: Literal["query", "mutation"], function: str, args: dict[str, Any]) -> Any:
        assert self._session is not None
        if self._deploy_key is not None:
            function += "Internal"
        else:
            args = {"secret": self._secret} | args
        body = orjson.dumps({"path": function, "args": args, "format": "json"})
        try:
            async with self._session.post(
                f"{self._url}/api/{kind}",
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                status, retry_after, content = (
                    response.status,
                    response.headers.get("Retry-After"),
                    await response.read(),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Away(f"{self._url} does not answer {function}: {error or type(error).__name__}") from error
        return self._value(function, status, retry_after, content)

    def _value(self, function: str, status: int, retry_after: str | None, content: bytes) -> Any:
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise Away(f"{self._url} answered {function} with status {status} and no JSON: is it a Convex deployment?")
        if answer.get("status") == "success":
            return answer.get("value")
        if answer.get("status") == "error":
            data, said = answer.get("errorData"), str(answer.get("errorMessage", ""))
            if isinstance(data, dict) and data.get("code") in REFUSALS:
                raise Refused(f"{function}: {data.get('message', said)}")
            if "Could not find" in said and "function" in said:
                raise Refused(
                    f"{function} is not deployed at {self._url}: run `npx convex deploy` with our convex/ folder"
                )
            raise FunctionFailed(f"{function}: {data.get('message', said) if isinstance(data, dict) else said}"[:1000])
        said = f"{function}: {answer.get('code', status)}: {answer.get('message', '')}"[:500]
        if status in (400, 401, 403, 404):
            raise Refused(said)
        raise Away(said, float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0)
