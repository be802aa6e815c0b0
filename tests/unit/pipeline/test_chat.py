"""Chat logs: two forms, and what is wrong with the others."""

import json
import time
from typing import Any

import pytest

from klipstream_pipeline.chat import BadChat, ChatMessage, read_chat


def twitch(*comments: dict[str, Any]) -> bytes:
    return json.dumps({"FileInfo": {"Version": {"Major": 1}}, "comments": comments, "embeddedData": {"x": 1}}).encode()


def comment(offset: Any, user: str | None, text: str) -> dict[str, Any]:
    return {
        "_id": "1",
        "content_offset_seconds": offset,
        "commenter": None if user is None else {"display_name": user, "bio": "x", "name": "login"},
        "message": {"body": text, "fragments": [{"text": text}], "user_badges": [], "emoticons": []},
    }


def test_a_log_of_twitchdownloader_is_read_in_the_order_of_time() -> None:
    chat = read_chat(twitch(comment(9, "Ada", "POG"), comment(2.5, "Bo", "hi")), 10.0)
    assert chat.messages == (ChatMessage(2.5, "Bo", "hi"), ChatMessage(9.0, "Ada", "POG"))


def test_a_plain_list_is_read_the_same() -> None:
    chat = read_chat(b'[{"offset": 1, "user": "Ada", "text": "hi", "colour": "red"}]', 10.0)
    assert chat.messages == (ChatMessage(1.0, "Ada", "hi"),)


def test_the_author_of_a_deleted_account_has_no_name() -> None:
    assert read_chat(twitch(comment(1, None, "hi")), 10.0).messages[0].user == ""


def test_messages_outside_of_the_video_are_dropped_and_counted() -> None:
    chat = read_chat(twitch(*(comment(at, "a", "x") for at in (-0.1, 0, 10, 10.01, 1e9))), 10.0)
    assert [message.offset_seconds for message in chat.messages] == [0.0, 10.0]
    assert chat.dropped == 3


def test_an_empty_log_is_a_chat_without_messages() -> None:
    assert read_chat(b"[]", 10.0).messages == ()


def test_long_texts_and_names_are_cut() -> None:
    message = read_chat(json.dumps([{"offset": 0, "user": "u" * 999, "text": "t" * 9999}]).encode(), 1.0).messages[0]
    assert (len(message.user), len(message.text)) == (64, 500)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"3", "neither"),
        (b'{"messages": []}', 'without a list "comments"'),
        (b'{"comments": {}}', 'without a list "comments"'),
        (b'[{"offset": 1, "user": "a", "text": "x"}, {"offset": 1, "user": "a"}]', "message 1 .* lacks 'text'"),
        (b'[{"offset": "1", "user": "a", "text": "x"}]', "message 0 .* no number of seconds"),
        (b'[{"offset": true, "user": "a", "text": "x"}]', "no number of seconds"),
        (b'[{"offset": NaN, "user": "a", "text": "x"}]', "no number of seconds"),
        (b'[{"offset": Infinity, "user": "a", "text": "x"}]', "no number of seconds"),
        (b'[{"offset": 1, "user": 5, "text": "x"}]', "no string"),
        (b'[["a"]]', "message 0 .* not an object"),
        (b'{"comments": [{"content_offset_seconds": 1, "message": "x"}]}', "TwitchDownloaderCLI's form"),
        (b'{"comments": [{"message": {"body": "x"}}]}', "lacks 'content_offset_seconds'"),
    ],
)
def test_broken_content_says_what_and_where(content: bytes, said: str) -> None:
    with pytest.raises(BadChat, match=said) as caught:
        read_chat(content, 10.0)
    assert caught.value.retryable is False


def test_a_million_messages_are_read_in_bounded_time() -> None:
    content = b"[" + b",".join(
        b'{"offset": %d, "user": "u%d", "text": "hello there"}' % (n, n % 9999) for n in range(1_000_000)
    )
    began = time.process_time()
    chat = read_chat(content + b"]", 500_000.0)
    assert len(chat.messages) == 500_001
    assert chat.dropped == 499_999
    assert time.process_time() - began < 30.0
