"""Pages to HTML, with everything escaped that is not a template's own."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from klipstream_gateway.answers import JobState, QueueState
from klipstream_gateway.dashboard import words
from klipstream_gateway.dashboard.assets import Asset
from klipstream_gateway.dashboard.pages import HOME, Page, Viewer
from klipstream_gateway.problems import Refused

STATE_WORDS = {
    JobState.QUEUED: "Waiting",
    JobState.PROCESSING: "Running",
    JobState.RETRYING: "Waiting for a retry",
    JobState.COMPLETED: "Completed",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
    JobState.REJECTED: "Rejected",
}
QUEUE_WORDS = {
    QueueState.RUNNING: "Running",
    QueueState.PAUSED: "Paused",
    QueueState.DRAINING: "Draining",
    QueueState.MIXED: "Mixed",
}
PRIORITY_WORDS = {"URGENT": "Urgent", "HIGH": "High", "NORMAL": "Normal", "LOW": "Low"}


class Rendering:
    """Renders pages, their live parts, notices and problems."""

    def __init__(self, files: Mapping[str, Asset], now: Callable[[], datetime]) -> None:
        self._now = now
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "w": words,
            "home": HOME,
            "state_words": STATE_WORDS,
            "queue_words": QUEUE_WORDS,
            "priority_words": PRIORITY_WORDS,
            "asset": lambda name: f"{HOME}/static/{name}?v={files[name].version}",
        }

    def page(self, page: Page, viewer: Viewer, address: str) -> str:
        """The whole document."""
        return self._render(f"{page.template}.html", page, viewer, address)

    def live(self, page: Page, viewer: Viewer, address: str) -> str:
        """The part that is sent again when something changes."""
        return self._render(f"{page.template}_view.html", page, viewer, address)

    def notice(self, text: str, refused: Refused | None = None, failed: bool = False) -> str:
        """What came of an act, to be put into a page."""
        return self._environment.get_template("notice.html").render(text=text, refused=refused, failed=failed)

    def log(self, text: str, refused: Refused | None = None) -> str:
        """What a worker wrote, or why that cannot be shown."""
        return self._environment.get_template("log.html").render(text=text, refused=refused)

    def _render(self, template: str, page: Page, viewer: Viewer, address: str) -> str:
        return self._environment.get_template(template).render(
            **page.context, page=page, viewer=viewer, address=address, now=self._now()
        )


def problem_page(refused: Refused, back: str = HOME) -> Page:
    """An error that says what to do."""
    return Page("problem", refused.problem.value.title, {"refused": refused, "back": back}, live=False)


def done_page(text: str, back: str) -> Page:
    """What came of an act, for browsers without scripts."""
    return Page("done", "Done", {"text": text, "back": back}, live=False)
