"""The endpoint that workers post their progress to, and the operator's readiness."""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from pydantic import ValidationError

from klipstream_api import ProgressPost, ProgressReply
from klipstream_kube import ApiError, Unreachable
from klipstream_operator.identity import Identities, NotAuthenticated
from klipstream_operator.progress import WRITE_EVERY_SECONDS, ProgressBook, Verdict
from klipstream_operator.store import Store
from klipstream_operator.workload import PodView

log = logging.getLogger(__name__)
BODY_BYTES = 16_384
RETRY_AFTER_SECONDS = "1"


def _problem(status: int, title: str, detail: str, **headers: str) -> web.Response:
    """An RFC 9457 problem."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")


@dataclass(slots=True)
class ProgressServer:
    """HTTP side of the progress book."""

    store: Store
    book: ProgressBook
    identities: Identities
    problems: Callable[[], list[str]]
    """What keeps this replica from being ready."""

    def application(self) -> web.Application:
        """The aiohttp application: POST /v1/progress, GET /readyz."""
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/v1/progress", self.post)
        app.router.add_get("/readyz", self.ready)
        return app

    async def serve(self, host: str, port: int, tls: ssl.SSLContext | None) -> web.AppRunner:
        """Start to listen; the caller cleans the runner up."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        return runner

    async def ready(self, _: web.Request) -> web.Response:
        """200 once all caches are filled; 503 with what is missing before."""
        problems = self.problems()
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def post(self, request: web.Request) -> web.Response:
        """401 without a worker's token, 400 for a bad body, 409 for a stale attempt, 503 while not known yet."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _problem(401, "Unauthorized", "Send the token of ANALYSIS_TOKEN_FILE as a bearer token.")
        try:
            identity = await self.identities.of(token.strip())
            pod = self._pod(identity.pod_uid) or await self.identities.pod(identity)
        except NotAuthenticated as error:
            return _problem(401, "Unauthorized", f"{error}. Read ANALYSIS_TOKEN_FILE again: it rotates.")
        except (ApiError, Unreachable) as error:
            log.warning("Progress of a worker could not be authenticated: %s", error)
            return _problem(
                503, "Unavailable", "The API server does not answer.", **{"Retry-After": RETRY_AFTER_SECONDS}
            )
        try:
            post = ProgressPost.model_validate_json(await request.read())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            return _problem(400, "Bad progress", f"{where}: {first['msg']}")
        if pod is None:
            return _problem(409, "Stale attempt", "This pod is not one of the queue's workers. Stop.")
        try:
            verdict, job = await self.book.take(pod, post)
        except (ApiError, Unreachable) as error:
            return _problem(503, "Unavailable", str(error), **{"Retry-After": RETRY_AFTER_SECONDS})
        if verdict is Verdict.UNKNOWN:
            return _problem(503, "Not known yet", "Post again soon.", **{"Retry-After": RETRY_AFTER_SECONDS})
        if verdict is Verdict.STALE or job is None:
            return _problem(409, "Stale attempt", "Another attempt took over, or the job is finished. Stop.")
        reply = ProgressReply(
            desired="Cancel" if job.spec.cancel else "Continue",
            min_interval_seconds=WRITE_EVERY_SECONDS,
            deadline=self.book.deadline(job, pod),
        )
        return web.json_response(text=reply.model_dump_json(exclude_none=True))

    def _pod(self, uid: str) -> PodView | None:
        return self.store.pod(uid)
