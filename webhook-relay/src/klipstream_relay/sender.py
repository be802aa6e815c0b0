"""One attempt to deliver: signed, pinned, bounded, and answered with what happened and what to do next."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Protocol

import aiohttp
from yarl import URL

from klipstream_netguard import Rules, Target, parse_target
from klipstream_netguard.urls import target_problem
from klipstream_relay.pinned import AddressRefused, NameNotFound, PinnedResolver, calling, pinned_connector
from klipstream_relay.signing import SigningSecret, headers

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10.0
"""Of one attempt from the look-up of the name to the answer (guide: 10 seconds per webhook call)."""
DRAINED_BYTES = 16_384
DRAIN_SECONDS = 0.5
"""What is read of an answer so that its connection can be used again; what is longer costs its connection."""
HEADER_BYTES = 8192
STALE_AT_MOST = 8
"""Connections of the pool that turn out to be closed before the attempt counts as failed."""
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
USER_AGENT = "klipstream-webhooks/1"


class Sendable(Protocol):
    """What is needed of a delivery to send it."""

    @property
    def id(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def job_uid(self) -> str: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs a delivery and what authorises it; empty for an endpoint without secrets."""

    signing: tuple[SigningSecret, ...] = field(default=(), repr=False)
    bearer_token: str | None = field(default=None, repr=False)


class CredentialsRefused(Exception):
    """The credentials of an endpoint cannot be used: nothing is sent. `retryable` where time alone may mend it."""

    def __init__(self, reason: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt. `reason` is one CamelCase word for programs, `message` a sentence for people.

    Neither holds anything that the endpoint sent: it could send our own credentials back, or others' secrets.
    """

    delivered: bool
    code: int | None
    """The HTTP status, where there was an answer."""
    reason: str
    message: str
    retry_after_seconds: float | None
    """How long the endpoint asked to be left alone, at most a day."""
    disable: bool
    """The endpoint is gone for good (410)."""
    retryable: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    message: str
    retryable: bool = True


class Sender:
    """Sends deliveries over one pool of connections. Use as an async context manager, or close it.

    `credentials` finds what signs and authorises a delivery when it is sent, so that nothing secret is ever stored
    with one; it raises CredentialsRefused. `tls` is for receivers with an authority of their own; the machine's
    authorities count where absent.
    """

    def __init__(
        self,
        rules: Rules,
        credentials: Callable[[Sendable], Awaitable[Credentials]],
        *,
        tls: ssl.SSLContext | None = None,
        nameservers: tuple[str, ...] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules
        self.credentials = credentials
        self._tls = tls
        self._nameservers = nameservers
        self._timeout_seconds = timeout_seconds
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._resolver: PinnedResolver | None = None

    async def __aenter__(self) -> "Sender":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None

    async def send(self, delivery: Sendable, traceparent: str | None = None) -> Outcome:
        """One attempt; never raises for what the endpoint, its name servers or its Secret do."""
        began = time.monotonic()

        def outcome(code: int | None, failure: _Failure | None, retry_after: float | None = None) -> Outcome:
            return Outcome(
                delivered=failure is None,
                code=code,
                reason=failure.reason if failure is not None else "Delivered",
                message=failure.message if failure is not None else f"answered {code}",
                retry_after_seconds=retry_after,
                disable=code == 410,
                retryable=failure is not None and failure.retryable,
                seconds=time.monotonic() - began,
            )

        target = parse_target(delivery.url)
        problem = target if isinstance(target, str) else target_problem(target, self.rules)
        if problem is not None or isinstance(target, str):
            return outcome(None, _Failure("UrlRefused", str(problem), retryable=False))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                credentials = await self.credentials(delivery)
                code, retry_after = await self._post(delivery, target, credentials, traceparent)
        except CredentialsRefused as refused:
            return outcome(None, _Failure(refused.reason, refused.message, refused.retryable))
        except TimeoutError:
            return outcome(None, _Failure("Timeout", f"no answer within {self._timeout_seconds:g} s"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return outcome(None, _failure_of(error))
        return outcome(code, judged(code), retry_after)

    async def _post(
        self, delivery: Sendable, target: Target, credentials: Credentials, traceparent: str | None
    ) -> tuple[int, float | None]:
        sent = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **headers(credentials.signing, delivery.id, int(self._now()), delivery.body),
        }
        if credentials.bearer_token is not None:
            sent["Authorization"] = f"Bearer {credentials.bearer_token}"
        if traceparent is not None:
            sent["traceparent"] = traceparent
        # As it was checked: yarl's own normalising must not make another URL of it.
        url = URL(delivery.url, encoded=True)
        session = self._pool()
        with calling(target.host):
            for _ in range(STALE_AT_MOST):
                used = _Used()
                try:
                    async with session.post(
                        url, data=delivery.body, headers=sent, allow_redirects=False, trace_request_ctx=used
                    ) as answer:
                        retry_after = retry_after_seconds(answer.headers.get("Retry-After"), self._now())
                        await _drain(answer)
                        return answer.status, retry_after
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    # The receiver closed a connection that had been silent, as this delivery was on its way. Had it
                    # read it all the same, the webhook-id tells.
                    if not used.again:
                        raise
        raise aiohttp.ServerDisconnectedError

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = PinnedResolver(self.rules, self._nameservers)
            self._session = aiohttp.ClientSession(
                trace_configs=[_tracing()],
                connector=pinned_connector(self._resolver, self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                read_bufsize=DRAINED_BYTES,
                timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            )
        return self._session


def judged(code: int) -> _Failure | None:
    """What a status means: 2xx is delivered; a redirect is not followed; 410 ends it; all else may be tried again."""
    if 200 <= code < 300:
        return None
    if code == 410:
        return _Failure("Gone", "answered 410: the receiver wants no more; the endpoint is disabled", retryable=False)
    if 300 <= code < 400:
        return _Failure("Redirect", f"answered {code}: redirects are not followed, name the final URL")
    if code in (401, 403):
        return _Failure("Unauthorized", f"answered {code}: look at the signing secret and the token")
    if code == 429:
        return _Failure("TooManyRequests", "answered 429: the receiver asks for fewer deliveries")
    if 400 <= code < 500:
        return _Failure("ClientError", f"answered {code}: the receiver takes no such delivery")
    if 500 <= code < 600:
        return _Failure("ServerError", f"answered {code}: the receiver failed")
    return _Failure("BadAnswer", f"answered {code}, which is no final HTTP status")


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header, a number or an HTTP date (RFC 9110 10.2.3); None where it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:10]), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


@dataclass(slots=True)
class _Used:
    """What a request learns of its connection."""

    again: bool = False
    """Whether it had carried a request before."""


def _tracing() -> aiohttp.TraceConfig:
    async def again(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.again = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(again)
    return tracing


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read a short answer to its end, so that the connection can be used again; give up on any other one.

    The status has been said: whatever is wrong with the rest does not undo it.
    """
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            left = DRAINED_BYTES
            while left > 0 and (chunk := await answer.content.read(left)):
                left -= len(chunk)
            if not answer.content.at_eof():
                answer.close()
    except (aiohttp.ClientError, OSError, ValueError):
        answer.close()


def _failure_of(error: Exception) -> _Failure:
    """The class of a failure without an answer. Its message is ours or the system's, never the endpoint's words."""
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, AddressRefused):
        return _Failure("AddressRefused", str(cause), retryable=False)
    if isinstance(cause, NameNotFound):
        return _Failure("NameNotFound", str(cause))
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return _Failure("TlsFailed", f"no trusted TLS connection ({type(error).__name__}): look at its certificate")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _Failure(
            "ConnectionFailed",
            f"no connection: {cause.strerror or type(cause).__name__}"
            if isinstance(cause, OSError)
            else "no connection",
        )
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return _Failure("ConnectionLost", "the connection ended before there was an answer")
    return _Failure("BadAnswer", f"the answer is no HTTP that can be read ({type(error).__name__})")
