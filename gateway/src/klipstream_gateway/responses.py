"""Answers and problems as aiohttp's responses."""

from collections.abc import Mapping

import orjson
from aiohttp import web

from klipstream_gateway.problems import MEDIA_TYPE, Refused
from klipstream_gateway.routes import Answer, TextAnswer

SECURITY_HEADERS = {
    "Server": "klipstream",  # without versions
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def answered(answer: Answer | TextAnswer, headers: Mapping[str, str]) -> web.Response:
    """A success."""
    all_headers = SECURITY_HEADERS | dict(headers) | dict(answer.headers)
    if isinstance(answer, TextAnswer):
        return web.Response(text=answer.text, content_type=answer.media_type, charset="utf-8", headers=all_headers)
    body = orjson.dumps(answer.body.model_dump(mode="json"))
    return web.Response(body=body, status=answer.status, content_type="application/json", headers=all_headers)


def nothing_more(headers: Mapping[str, str]) -> web.Response:
    """The success that ends a stream."""
    return web.Response(status=204, headers=SECURITY_HEADERS | dict(headers))


def problem(refused: Refused, request_id: str, headers: Mapping[str, str]) -> web.Response:
    """A refusal."""
    body = orjson.dumps(refused.body(request_id).model_dump(mode="json", exclude_none=True))
    all_headers = SECURITY_HEADERS | dict(headers) | dict(refused.headers)
    return web.Response(body=body, status=refused.problem.status, content_type=MEDIA_TYPE, headers=all_headers)


def failure(code: str, request_id: str, headers: Mapping[str, str]) -> web.Response:
    """An error of ours. The caller is told the request's id only: what went wrong in here is for the log."""
    body = {"type": "about:blank", "title": "Internal error", "status": 500, "code": code,
            "detail": "The gateway's log has more.", "request_id": request_id}  # fmt: skip
    return web.json_response(body, status=500, headers=dict(headers) | SECURITY_HEADERS, content_type=MEDIA_TYPE)


def event_stream(headers: Mapping[str, str]) -> web.StreamResponse:
    """A success that goes on. Proxies that buffer would hold events back."""
    more = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    return web.StreamResponse(headers=SECURITY_HEADERS | dict(headers) | more)
