"""The dashboard over HTTP: sessions, pages, forms and their live parts."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from urllib.parse import quote, urlsplit

from aiohttp import ClientConnectionResetError, web

from klipstream_gateway.cluster import refusal
from klipstream_gateway.dashboard import acts
from klipstream_gateway.dashboard.assets import assets
from klipstream_gateway.dashboard.operations import Caller, Operations
from klipstream_gateway.dashboard.pace import MOST_SECONDS, Busy, pause_seconds
from klipstream_gateway.dashboard.pages import HOME, Page, Pages, Viewer, is_local, local
from klipstream_gateway.dashboard.rendering import Rendering, done_page, problem_page
from klipstream_gateway.dashboard.sessions import (
    COOKIE,
    SECURE_COOKIE,
    SESSION_SECONDS,
    Session,
    Sessions,
    TooLong,
)
from klipstream_gateway.http import Front
from klipstream_gateway.metrics import CALLER_LEFT
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.responses import SECURITY_HEADERS
from klipstream_gateway.routes import ANONYMOUS, RateClass
from klipstream_gateway.sending import deliver
from klipstream_gateway.service import Service
from klipstream_kube import ApiError, Unreachable

log = logging.getLogger(__name__)
HEADERS = SECURITY_HEADERS | {
    # Nothing inline, nothing from elsewhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # With no-referrer browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(slots=True)
class Dashboard:
    """Handlers of aiohttp."""

    front: Front
    service: Service
    pages: Pages
    rendering: Rendering
    sessions: Sessions
    watching: int = 0

    # --- pages -----------------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.Response:
        """Any page, or its live part alone where htmx asks for it."""
        if request.path.endswith("/"):
            raise web.HTTPSeeOther(request.path.rstrip("/"))
        viewer = await self._viewer(request)
        await self._count(viewer)
        wanted = request.query.get("job_id", "").strip()
        if request.path == f"{HOME}/jobs" and wanted:
            raise web.HTTPSeeOther(f"{HOME}/jobs/{quote(wanted, safe='')}")
        address = request.path_qs
        page = await self.pages.at(address, viewer)
        if request.headers.get("HX-Target") == "view":
            return _html(self.rendering.live(page, viewer, address))
        response = _html(self.rendering.page(page, viewer, address))
        if not viewer.signed_in and self._cookie(request):
            _forget(response)
        return response

    async def home(self, _: web.Request) -> web.Response:
        """The bare address of the gateway, as people type it."""
        raise web.HTTPSeeOther(HOME)

    async def act(self, request: web.Request) -> web.StreamResponse:
        """A form that changes something."""
        viewer = await self._viewer(request)
        form = await self._form(request, viewer)
        asked = acts.asked(request.path, form)
        if asked is None:
            raise Refused(Problem.NOT_FOUND, "There is no such act.")
        answer = await self.pages.operations.act(
            asked.operation, viewer.caller, asked.query, asked.body, asked.headers, **asked.path
        )  # fmt: skip
        text, elsewhere = acts.outcome(asked.operation, answer)
        if _by_htmx(request):
            if elsewhere is not None:
                return _html("", headers={"HX-Redirect": elsewhere})
            return _html(self.rendering.notice(text), headers={"HX-Trigger": "refresh"})
        if elsewhere is not None:
            raise web.HTTPSeeOther(elsewhere)
        back = local(form.get("back")) if form.get("back") else asked.back
        return _html(self.rendering.page(done_page(text, back), viewer, request.path))

    async def log(self, request: web.Request) -> web.Response:
        """The last lines of an attempt, as part of a job's page or alone."""
        viewer = await self._viewer(request)
        await self._count(viewer)
        asked = {name: each for name in ("attempt", "tail") if (each := request.query.get(name, "").strip())}
        try:
            text = await self.pages.operations.read("getJobLogs", viewer.caller, asked, **request.match_info)
        except Refused as refused:
            if not _by_htmx(request):
                raise
            return _html(self.rendering.log("", refused))
        return _html(self.rendering.log(text)) if _by_htmx(request) else _plain(text)

    # --- sessions --------------------------------------------------------------------------------------------

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Take credentials, once; the browser keeps them in a form that only gateways can read."""
        _same_origin(request)
        address = self.front.address(request)
        form = await self._fields(request)
        token = form.get("credential", "").strip()
        goal = local(form.get("next"))
        try:
            cookie = self.sessions.make(token)
            principal = await self.front.identify(f"Bearer {token}", address)
        except TooLong as error:
            return await self._sign_in_again(request, f"This token cannot be used here: {error}.", goal)
        if principal is None:
            wrong = "These credentials are not valid: unknown, expired, or not copied whole."
            return await self._sign_in_again(request, wrong, goal)
        if not principal.scopes:
            return await self._sign_in_again(request, f"{principal.name} is known, but may do nothing here.", goal)
        log.info("%s signed in from %s", principal.name, address)
        response = web.HTTPSeeOther(goal)
        secure = self._is_secure(request)
        response.set_cookie(
            SECURE_COOKIE if secure else COOKIE, cookie, max_age=SESSION_SECONDS, path="/", secure=secure,
            httponly=True, samesite="Strict",
        )  # fmt: skip
        raise response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Forget the cookie."""
        await self._form(request, await self._viewer(request))
        response = web.HTTPSeeOther(HOME)
        _forget(response)
        raise response

    async def _sign_in_again(self, request: web.Request, wrong: str, goal: str) -> web.Response:
        viewer = Viewer(self._caller(request))
        page = Page("sign_in", "Sign in", {"next": goal, "wrong": wrong}, live=False)
        return _html(self.rendering.page(page, viewer, request.path), status=401)

    # --- live ------------------------------------------------------------------------------------------------

    async def live(self, request: web.Request) -> web.StreamResponse:
        """The live part of `?page=` whenever it changed, and a sign of life at least every five seconds."""
        viewer = await self._viewer(request)
        await self._count(viewer)
        hub = self.service.hub
        address = request.query.get("page", HOME)
        if not is_local(address):
            # With another page in its place the reader would see this one turn into that.
            raise Refused(Problem.NOT_FOUND, "There is no such page.")
        page = await self.pages.at(address, viewer)
        give_back = self.service.places.take(viewer.principal, viewer.caller.address)
        listener = hub.everything(None) if page.uid is None else hub.job(page.uid)
        response = web.StreamResponse(
            headers=HEADERS | {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        self.watching += 1
        shown = None
        try:
            await response.prepare(request)
            while True:
                now = await self._viewer(request)
                if now.principal != viewer.principal:
                    await deliver(request, response.write(_event("ended", "")))
                    return response
                part = Busy(self._live_part(address, now))
                html = await part
                event = _event("beat", "") if html == shown else _event("view", html)
                await deliver(request, response.write(event))
                shown = html
                await asyncio.sleep(pause_seconds(part.seconds, self.watching))
                await listener.next(MOST_SECONDS)
                listener.waiting.clear()
        except (ClientConnectionResetError, ConnectionResetError):
            return response
        except (ApiError, Unreachable) as error:
            # The page says that it is not live any more, and asks again.
            log.warning("A stream of %s ends: %s", address, error)
            return response
        finally:
            self.watching -= 1
            hub.leave(listener, page.uid)
            give_back()

    async def _live_part(self, address: str, viewer: Viewer) -> str:
        try:
            page = await self.pages.at(address, viewer)
        except Refused as refused:
            page = problem_page(refused)
        return self.rendering.live(page, viewer, address)

    # --- files -----------------------------------------------------------------------------------------------

    def files(self) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The handler of scripts and styles."""
        known = assets()

        async def file(request: web.Request) -> web.Response:
            asset = known.get(request.match_info["name"])
            if asset is None:
                raise web.HTTPNotFound
            kept = request.query.get("v") == asset.version
            headers = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable" if kept else "no-cache"}
            return web.Response(body=asset.content, content_type=asset.media_type, charset="utf-8", headers=headers)

        return file

    # --- who and whether -------------------------------------------------------------------------------------

    def answering(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Every way ends in a page, or in a notice where htmx asked."""

        async def answer(request: web.Request) -> web.StreamResponse:
            started = time.monotonic()
            status = 200
            try:
                try:
                    response = await handler(request)
                except (ApiError, Unreachable) as error:
                    raise refusal(error) from error
                status = response.status
                return response
            except Refused as refused:
                status = refused.problem.status
                return await self._refused(request, refused)
            except web.HTTPException as other:
                status = other.status
                other.headers.update({name: each for name, each in HEADERS.items() if name not in other.headers})
                raise
            except asyncio.CancelledError:
                status = CALLER_LEFT
                raise
            except Exception:
                status = 500
                return self._failed(request)
            finally:
                self.front.metrics.answered(f"dashboard-{handler.__name__}", status, time.monotonic() - started)

        return answer

    def _failed(self, request: web.Request) -> web.Response:
        """What is said of an error of ours: what went wrong in here is for the log."""
        request_id = uuid.uuid4().hex
        log.exception("Request %s: %s %s failed", request_id, request.method, request.path)
        text = f"The gateway failed, and its log has more: look for {request_id}."
        return _html(self.rendering.notice(text, failed=True) if _by_htmx(request) else text, status=500)

    async def _refused(self, request: web.Request, refused: Refused) -> web.Response:
        headers = dict(refused.headers)
        status = refused.problem.status
        if _by_htmx(request):
            return _html(self.rendering.notice(refused.detail, refused), status, headers)
        try:
            viewer = await self._viewer(request)
        except Refused:
            viewer = Viewer(self._caller(request))
        if refused.problem is Problem.UNAUTHENTICATED and request.method == "GET":
            page = Page("sign_in", "Sign in", {"next": local(request.path_qs), "wrong": refused.detail}, live=False)
        else:
            page = problem_page(refused)
        return _html(self.rendering.page(page, viewer, request.path), status, headers)

    async def _viewer(self, request: web.Request) -> Viewer:
        """Whose session it is; nobody's where there is none, or its credential is not valid any more."""
        caller = self._caller(request)
        session = self._session(request)
        principal = await self.front.access.principal(session.authorization) if session is not None else None
        if session is None or principal is None:
            return Viewer(caller)
        return Viewer(Caller(principal, caller.address, caller.request_id), session.csrf)

    def _session(self, request: web.Request) -> Session | None:
        return self.sessions.open(self._cookie(request))

    def _cookie(self, request: web.Request) -> str | None:
        """Over https only the cookie that is bound to this host: any other could be another host's of the domain."""
        return request.cookies.get(SECURE_COOKIE if self._is_secure(request) else COOKIE)

    def _caller(self, request: web.Request) -> Caller:
        return Caller(ANONYMOUS, self.front.address(request), uuid.uuid4().hex)

    def _is_secure(self, request: web.Request) -> bool:
        """Whether the browser came by https. A caller who lies about it only makes its own cookie stricter."""
        return request.secure or request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip() == "https"

    async def _count(self, viewer: Viewer) -> None:
        await self.front.rates.count(RateClass.STATUS, viewer.caller.counted_as)

    async def _form(self, request: web.Request, viewer: Viewer) -> dict[str, str]:
        """The fields of a form that came from a page of ours. Raises Refused."""
        _same_origin(request)
        form = await self._fields(request)
        if viewer.signed_in and not compare_digest(form.get("csrf", "").encode(), viewer.csrf.encode()):
            raise Refused(Problem.FORBIDDEN, "The page is out of date: reload it, and try again.")
        return form

    async def _fields(self, request: web.Request) -> dict[str, str]:
        """The fields of a form. Raises Refused where it is none, or does not arrive."""
        seconds = self.front.settings.request_seconds
        try:
            async with asyncio.timeout(seconds):
                form = await request.post()
        except TimeoutError:
            raise Refused(Problem.BAD_REQUEST, f"The form did not arrive within {seconds:g} s.") from None
        except web.HTTPRequestEntityTooLarge:
            raise Refused(Problem.TOO_LARGE, "The form is too large.") from None
        except (web.RequestPayloadError, ConnectionResetError):
            raise Refused(Problem.BAD_REQUEST, "The form did not arrive whole.") from None
        except (LookupError, ValueError, AssertionError):
            # A charset that is not known, bytes that are none of it, parts without a boundary: aiohttp raises as it is.
            raise Refused(Problem.BAD_REQUEST, "The form cannot be read.") from None
        return {name: str(value) for name, value in form.items()}


def _same_origin(request: web.Request) -> None:
    """Raises Refused for a form of another site, and for what no browser sends."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    ours = site == "same-origin" if site is not None else origin is not None and urlsplit(origin).netloc == request.host
    if not ours:
        raise Refused(Problem.FORBIDDEN, "The form did not come from a page of this dashboard.")


def _forget(response: web.StreamResponse) -> None:
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
    response.del_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="Strict")


def _by_htmx(request: web.Request) -> bool:
    return request.headers.get("HX-Request") == "true"


def _html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    all_headers = HEADERS | {"Vary": "Cookie, HX-Target"} | (headers or {})
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=all_headers)


def _plain(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/plain", charset="utf-8", headers=HEADERS)


def _event(name: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()


def add_dashboard(app: web.Application, front: Front, service: Service, now: Callable[[], datetime]) -> None:
    """Serve the dashboard beside the API."""
    settings = front.settings
    operations = Operations(service.routes, front.access, front.rates, settings.request_seconds)
    pages = Pages(operations, service.cache, service.views, now, settings.anonymous_submit)
    dashboard = Dashboard(front, service, pages, Rendering(assets(), now), Sessions(settings.keys_folder))
    answering, router = dashboard.answering, app.router
    router.add_get("/", answering(dashboard.home))
    router.add_get(f"{HOME}/live", answering(dashboard.live))
    router.add_get(f"{HOME}/static/{{name}}", dashboard.files())
    router.add_get(f"{HOME}/jobs/{{job_id}}/log", answering(dashboard.log))
    router.add_post(f"{HOME}/sign-in", answering(dashboard.sign_in))
    router.add_post(f"{HOME}/sign-out", answering(dashboard.sign_out))
    for path in (HOME, f"{HOME}/{{rest:.*}}"):
        router.add_get(path, answering(dashboard.page))
        router.add_post(path, answering(dashboard.act))
