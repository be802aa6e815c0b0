"""The routes that describe the others."""

from collections.abc import Sequence
from pathlib import Path

from klipstream_gateway import openapi
from klipstream_gateway.routes import Call, RateClass, Route, TextAnswer

PAGE = Path(__file__).parent / "page"
# The page's own script and style, and requests to this gateway: nothing else.
PAGE_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
FILES = {
    "/docs": ("index.html", "text/html"),
    "/docs/page.js": ("page.js", "text/javascript"),
    "/docs/page.css": ("page.css", "text/css"),
}


def description_routes(routes: Sequence[Route]) -> tuple[Route, ...]:
    """OpenAPI, and a page that shows it and sends requests."""
    described = openapi.text(routes)

    async def document(_: Call) -> TextAnswer:
        """This API as OpenAPI 3.1."""
        return TextAnswer(described, "application/json")

    def page(path: str, name: str, media_type: str) -> Route:
        content = (PAGE / name).read_text()

        async def file(_: Call) -> TextAnswer:
            """Part of the interactive page."""
            return TextAnswer(content, media_type, PAGE_POLICY)

        return Route("GET", path, f"page-{name}", "About", name, file, {200: media_type}, RateClass.STATUS)

    return (
        Route("GET", "/api/v1/openapi.json", "getOpenApi", "About", "This description", document,
              {200: "application/json"}, RateClass.STATUS),
        *(page(path, name, media_type) for path, (name, media_type) in FILES.items()),
    )  # fmt: skip
