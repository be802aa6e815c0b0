"""result.json and report.html: valid, honest, and safe against what people write in chats."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import jsonschema
import numpy as np
import pytest

from klipstream_pipeline.chat import Chat, ChatMessage
from klipstream_pipeline.findings import Findings
from klipstream_pipeline.highlights import find_highlights
from klipstream_pipeline.loudness import Loudness
from klipstream_pipeline.report import render_report
from klipstream_pipeline.result import MOST_POINTS, make_result, schema
from klipstream_pipeline.transcript import Segment, Transcript
from klipstream_pipeline.watch_link import watch_link

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;"

UNHEARD = Transcript("none", "", low_confidence=False, segments=())


@dataclass(frozen=True)
class Heard:
    loudness: Loudness
    transcript: Transcript
    size_bytes: int = 1000
    sha256: str = "ab" * 32
    skipped_packets: int = 0


def heard(seconds: int = 600, *, text: str = "yes that was incredible what a shot") -> Heard:
    dbfs = np.random.default_rng(1).normal(-28.0, 2.0, seconds * 4)
    dbfs[1200:1224] += 15.0
    segments = tuple(
        Segment(float(at), at + 5.0, text if at == 300 else "we go left", 0.5) for at in range(0, seconds, 6)
    )
    return Heard(
        Loudness(dbfs, 0.25, float(seconds)), Transcript("whisper", "en", low_confidence=True, segments=segments)
    )


def chat(text: str = "POGGERS", user: str = "user") -> Chat:
    random = np.random.default_rng(2)
    messages = [ChatMessage(float(at), f"u{n % 60}", "hello") for n, at in enumerate(random.uniform(0, 600, 600))]
    messages += [ChatMessage(306.0 + n / 5, f"{user}{n}", f"{text} {n}") for n in range(30)]
    return Chat(tuple(sorted(messages, key=lambda message: message.offset_seconds)), 3)


def result_of(recording: Heard, log: Chat | None, **more: Any) -> dict[str, Any]:
    found: Findings = find_highlights(recording.loudness, recording.transcript, log)
    made = make_result(job_id="job-1", attempt=2, recording=recording, chat=log, findings=found, **more)
    return dict(json.loads(json.dumps(made, allow_nan=False)))


class Page(HTMLParser):
    """Tags and attributes of a page, and whether its tags match."""

    VOID = frozenset({"meta", "rect", "line", "path", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


CASES = {
    "a highlight": lambda: result_of(heard(), chat(), video_url="https://youtu.be/dQw4w9WgXcQ"),
    "no chat": lambda: result_of(heard(), None),
    "no transcript": lambda: result_of(replace(heard(), transcript=UNHEARD), chat()),
    "nothing": lambda: result_of(
        Heard(Loudness(np.full(40, -96.0), 0.25, 10.0), Transcript("none", "", False, ())), None
    ),
    "hostile": lambda: result_of(heard(text=f"incredible amazing {HOSTILE}"), chat(f"POGGERS {HOSTILE}", HOSTILE)),
    "long": lambda: result_of(heard(9000), chat()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_result_follows_its_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(CASES[name]())


def test_every_number_of_the_schema_says_its_unit_or_range() -> None:
    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") in ("number", "integer", "string", "array", "boolean"):
                assert node.get("description") or path.endswith(("/items", "additionalProperties")), path
            for key, value in node.items():
                walk(value, f"{path}/{key}")
        elif isinstance(node, list):
            for number, value in enumerate(node):
                walk(value, f"{path}/{number}")

    walk(schema(), "")


def test_a_result_says_which_highlights_and_why() -> None:
    result = CASES["a highlight"]()
    assert [round(each["peak_seconds"]) for each in result["highlights"]] == pytest.approx([303], abs=4)
    assert result["why_none"] is None
    assert result["highlights"][0]["watch_url"].startswith("https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=")
    assert result["chat"]["dropped"] == 3


def test_a_result_does_not_depend_on_when_it_was_made() -> None:
    assert CASES["a highlight"]() == CASES["a highlight"]()


def test_a_long_timeline_is_thinned_out_and_keeps_its_peaks() -> None:
    result = CASES["long"]()
    timeline = result["timeline"]
    assert len(timeline["loudness_dbfs"]) <= MOST_POINTS
    assert timeline["step_seconds"] == 7
    assert max(timeline["loudness_dbfs"]) > -18


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_one_well_formed_file_that_loads_nothing(name: str) -> None:
    html = render_report(CASES[name]())
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "image", "use"} == set()
    for tag, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes), tag
        assert "src" not in attributes
        assert tag == "a" or "href" not in attributes
        if tag == "a":
            assert re.match(r"(#|https?://)", attributes["href"] or "")
    assert "url(" not in html
    assert "@import" not in html


def test_hostile_text_is_shown_and_never_run() -> None:
    result = CASES["hostile"]()
    shown = result["highlights"][0]
    assert all("<script>" in message["text"] and "<script>" in message["user"] for message in shown["messages"])
    assert any("<script>" in segment["text"] for segment in shown["said"])
    html = render_report(result)
    assert "<script" not in html
    assert "<img" not in html
    # Name and text of each message, and what was said, in the highlight and in the transcript.
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2 * len(shown["messages"]) + 2


def test_a_forged_link_in_a_result_does_not_become_one() -> None:
    result = CASES["a highlight"]()
    result["highlights"][0]["watch_url"] = "javascript:alert(1)"
    assert "javascript:" not in render_report(result)


def test_every_plot_has_a_title_a_description_and_a_table() -> None:
    page = Page(render_report(CASES["a highlight"]()))
    plots = [attributes for tag, attributes in page.tags if tag == "svg"]
    identifiers = {attributes.get("id") for _, attributes in page.tags}
    assert len(plots) == 3
    for attributes in plots:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= identifiers
    assert "table" in identifiers
    assert "highlight-1" in identifiers


def test_a_report_without_highlights_says_why() -> None:
    html = render_report(CASES["nothing"]())
    assert "<h1>No highlights</h1>" in html
    assert "No moment stood out" in html


def test_a_report_is_light_and_dark() -> None:
    html = render_report(CASES["nothing"]())
    assert "prefers-color-scheme: dark" in html
    assert '<html lang="en">' in html


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=x", "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3725s"),
        ("https://youtu.be/dQw4w9WgXcQ", "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3725s"),
        ("https://www.youtube.com/live/dQw4w9WgXcQ?si=y", "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3725s"),
        ("https://www.twitch.tv/videos/2472774741", "https://www.twitch.tv/videos/2472774741?t=1h2m5s"),
        ("https://m.twitch.tv/klip/v/2472774741", "https://www.twitch.tv/videos/2472774741?t=1h2m5s"),
        ("https://example.com/talk.mp4", "https://example.com/talk.mp4#t=3725"),
        ("https://example.com/talk.mp4?token=secret", None),
        ("https://user:pass@example.com/talk.mp4", None),
        ("https://www.youtube.com/watch?v=%22%3E%3Cscript%3E", None),
        ("https://www.youtube.com.evil.example/watch?v=dQw4w9WgXcQ", None),
        ("javascript:alert(1)//talk.mp4", None),
        ("file:///talk.mp4", None),
        ("https://[broken", None),
        ("", None),
    ],
)
def test_a_moment_is_linked_where_the_url_allows_it(url: str, link: str | None) -> None:
    assert watch_link(url, 3725.9) == link
