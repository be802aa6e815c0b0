"""Chat logs: TwitchDownloaderCLI's JSON, or a plain list of messages, read into one form."""

import json
import math
from dataclasses import dataclass
from typing import Any

from klipstream_pipeline.outcome import AnalysisError, Exit

MOST_MESSAGES = 5_000_000
LONGEST_TEXT = 500
"""Twitch's own limit; what is longer says nothing that its beginning does not."""
LONGEST_USER = 64
_KEPT = frozenset({
    "comments", "content_offset_seconds", "commenter", "display_name", "name", "message", "body",
    "offset", "user", "text",
})  # fmt: skip


class BadChat(AnalysisError):
    """The chat log cannot be read; another attempt would read the same."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "BadChat", False


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message; seconds from the start of the video. The user is empty where the account was deleted."""

    offset_seconds: float
    user: str
    text: str


@dataclass(frozen=True)
class Chat:
    """Messages in the order of time, and how many were left out because they lie outside of the video."""

    messages: tuple[ChatMessage, ...]
    dropped: int


def read_chat(content: bytes, duration_seconds: float) -> Chat:
    """Read a chat log: TwitchDownloaderCLI's `{"comments": [...]}` or `[{"offset", "user", "text"}, ...]`.

    Messages before 0 and past `duration_seconds` are dropped and counted. Texts are cut at 500 characters.
    Raises BadChat, which says which message is wrong and why.
    """
    try:
        # Only what is used is kept of each object, so that a log of a million messages fits in memory: Twitch's
        # carry badges, colours, fragments and embedded pictures as well.
        log = json.loads(content, object_hook=_only_what_is_used)
    except (ValueError, RecursionError) as error:
        raise BadChat(f"the chat log is not JSON in UTF-8: {str(error)[:200] or 'nested too deeply'}") from error
    if isinstance(log, dict):
        entries, read = log.get("comments"), _twitch
        if not isinstance(entries, list):
            raise BadChat('the chat log is an object without a list "comments": TwitchDownloaderCLI\'s JSON has one')
    elif isinstance(log, list):
        entries, read = log, _plain
    else:
        raise BadChat("the chat log is neither TwitchDownloaderCLI's object nor a list of messages")
    if len(entries) > MOST_MESSAGES:
        raise BadChat(f"the chat log has {len(entries)} messages; {MOST_MESSAGES} are the most that is read")
    messages = []
    for number, entry in enumerate(entries):
        try:
            message = read(entry)
        except (KeyError, TypeError, ValueError) as error:
            said = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise BadChat(f"message {number} of the chat log {said}") from error
        if 0.0 <= message.offset_seconds <= duration_seconds:
            messages.append(message)
    messages.sort(key=lambda message: message.offset_seconds)
    return Chat(tuple(messages), len(entries) - len(messages))


def _only_what_is_used(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key in _KEPT}


def _twitch(entry: Any) -> ChatMessage:
    if not isinstance(entry, dict):
        raise TypeError("is not an object")
    body = entry["message"]
    commenter = entry.get("commenter") or {}
    if not isinstance(body, dict) or not isinstance(commenter, dict):
        raise TypeError("has no message body or commenter of TwitchDownloaderCLI's form")
    user = commenter.get("display_name") or commenter.get("name") or ""
    return _message(entry["content_offset_seconds"], user, body.get("body") or "")


def _plain(entry: Any) -> ChatMessage:
    if not isinstance(entry, dict):
        raise TypeError("is not an object of offset, user and text")
    return _message(entry["offset"], entry["user"], entry["text"])


def _message(offset: Any, user: Any, text: Any) -> ChatMessage:
    if isinstance(offset, bool) or not isinstance(offset, int | float) or not math.isfinite(offset):
        raise TypeError(f"has an offset that is no number of seconds: {str(offset)[:40]!r}")
    if not isinstance(user, str) or not isinstance(text, str):
        raise TypeError("has a user or a text that is no string")
    return ChatMessage(float(offset), user[:LONGEST_USER], text[:LONGEST_TEXT])
