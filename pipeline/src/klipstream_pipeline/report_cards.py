"""The highlights of a report, one card each."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from klipstream_pipeline.explanation import odds
from klipstream_pipeline.plots import clock

MOODS = {
    "joy": "laughter and joy", "hype": "excitement", "surprise": "surprise",
    "sadness": "sadness", "anger": "anger", "fear": "fear",
}  # fmt: skip
SIGNALS = {
    "chat": "Messages in chat", "loudness": "Loudness",
    "chat-mood": "Feeling in chat", "speech": "Feeling in what is said",
}  # fmt: skip


def shown(value: object) -> str:
    """Text of others, made harmless as text and in attributes."""
    return escape(str(value), quote=True)


def card(number: int, highlight: Mapping[str, Any]) -> str:
    """One highlight: when, why, what was measured, written and said."""
    span = f"{clock(float(highlight['start_seconds']))} to {clock(float(highlight['end_seconds']))}"
    mood = f'<span class="mood">{shown(MOODS.get(highlight["mood"], ""))}</span>' if highlight["mood"] else ""
    link = _link(highlight["watch_url"])
    rows = "".join(_evidence(each) for each in highlight["evidence"])
    return (
        f'<article id="highlight-{number}" aria-labelledby="heading-{number}"><header>'
        f'<h3 id="heading-{number}"><span class="number">{number}</span> {span}</h3>{mood}{link}</header>'
        f"<p>{shown(highlight['explanation'])}</p>"
        f'<div class="scroll"><table><caption>What was measured</caption><thead><tr><th scope="col">Signal</th>'
        '<th scope="col" class="figure">Here</th><th scope="col" class="figure">Usual</th>'
        f'<th scope="col" class="figure">By chance</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f'<div class="two">{_messages(highlight["messages"])}{_said(highlight["said"])}</div></article>'
    )


def _link(url: object) -> str:
    """Only web addresses become links, whatever a result says."""
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return ""
    return f'<a href="{shown(url)}" rel="noopener noreferrer">watch</a>'


def _evidence(each: Mapping[str, Any]) -> str:
    name = SIGNALS.get(each["signal"], each["signal"])
    mark = "" if each["counts"] else ' <span class="quiet">(too weak to count)</span>'
    return (
        f'<tr><th scope="row">{shown(name)}{mark}</th><td class="figure">{_amount(each["value"], each["unit"])}</td>'
        f'<td class="figure">{_amount(each["usual"], each["unit"])}</td>'
        f'<td class="figure">{shown(odds(float(each["p_value"])))}</td></tr>'
    )


def _amount(value: float, unit: str) -> str:
    if unit == "messages/s":
        return f"{value:.1f} a second"
    if unit == "dBFS":
        return f"{value:.0f} dB"
    return f"{100 * value:+.0f} (bad −100, good +100)" if unit == "valence" else f"{100 * value:.0f} of 100"


def _messages(messages: Sequence[Mapping[str, Any]]) -> str:
    if not messages:
        return ""
    lines = "".join(
        f"<li><strong>{shown(each['user'] or 'somebody')}</strong> {shown(each['text'])}</li>" for each in messages
    )
    return f'<div><p class="quiet">Written then, for example</p><ul class="lines">{lines}</ul></div>'


def _said(segments: Sequence[Mapping[str, Any]]) -> str:
    if not segments:
        return ""
    lines = "".join(f"<blockquote>{shown(each['text'])}</blockquote>" for each in segments)
    return f'<div><p class="quiet">Said then</p>{lines}</div>'
