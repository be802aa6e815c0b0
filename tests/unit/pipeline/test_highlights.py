"""Which moments stand out: two signals at once, and the chat where it belongs."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from klipstream_pipeline.chat import Chat, ChatMessage
from klipstream_pipeline.findings import Findings, Signal
from klipstream_pipeline.highlights import find_highlights
from klipstream_pipeline.loudness import Loudness
from klipstream_pipeline.transcript import Segment, Transcript

SECONDS = 600
EVENTS = (120, 300, 450)
SILENT = Transcript("none", "", low_confidence=False, segments=())


def sound(loud: Sequence[int] = (), *, seconds: int = SECONDS, rise_db: float = 15.0, length: int = 6) -> Loudness:
    random = np.random.default_rng(1)
    dbfs = random.normal(-28.0, 2.0, seconds * 4)
    for start in loud:
        dbfs[start * 4 : (start + length) * 4] += rise_db
    return Loudness(dbfs, 0.25, float(seconds))


def chat(busy: Sequence[int] = (), *, seconds: int = SECONDS, text: str = "POGGERS", new: bool = False) -> Chat:
    """A message a second from 60 people, and 30 more in six seconds where it is busy."""
    random = np.random.default_rng(2)
    said = ("hello", "which map is this", "ok", "left", "I had soup", "true")
    messages = [
        ChatMessage(float(at), f"user{random.integers(60)}", str(random.choice(said)))
        for at in random.uniform(0, seconds, seconds)
    ]
    for start in busy:
        messages += [
            ChatMessage(float(start + at), f"raider{start}-{n}" if new else f"user{n}", text)
            for n, at in enumerate(random.uniform(0, 6, 30))
        ]
    return Chat(tuple(sorted(messages, key=lambda message: message.offset_seconds)), 0)


def speech(excited: Sequence[int] = ()) -> Transcript:
    plain = ("we go to the left side now", "the next part is a little longer", "I will check the map", "put it there")
    segments = [Segment(float(at), at + 5.0, plain[at // 6 % 4], 0.9) for at in range(0, SECONDS, 6)]
    for start in excited:
        segments[start // 6] = Segment(start, start + 5.0, "yes that was incredible amazing what a shot I love it", 0.9)
    return Transcript("whisper", "en", low_confidence=False, segments=tuple(segments))


def peaks(findings: Findings) -> list[float]:
    return [highlight.peak_seconds for highlight in findings.highlights]


def test_loud_and_busy_at_once_are_highlights_at_the_time_of_the_picture() -> None:
    found = find_highlights(sound(EVENTS), SILENT, chat([start + 8 for start in EVENTS]))
    assert peaks(found) == pytest.approx([start + 3 for start in EVENTS], abs=4)
    assert found.why_none is None
    assert found.chat_lag is not None
    assert found.chat_lag.estimated
    assert found.chat_lag.seconds == pytest.approx(8, abs=2)


@pytest.mark.parametrize(
    ("loud", "busy"), [(EVENTS, ()), ((), EVENTS), ((60, 200, 380), (130, 290, 500)), ((), ())],
    ids=["only loud", "only busy", "never together", "nothing"],
)  # fmt: skip
def test_one_signal_alone_is_none_and_says_why(loud: Sequence[int], busy: Sequence[int]) -> None:
    found = find_highlights(sound(loud), SILENT, chat(busy, text="which map is this"))
    assert peaks(found) == []
    assert found.why_none is not None
    assert "No moment stood out" in found.why_none


def test_a_raid_is_no_highlight_even_in_high_spirits() -> None:
    assert peaks(find_highlights(sound(), SILENT, chat(EVENTS, text="PogChamp raid <3", new=True))) == []


def test_music_that_stays_is_no_peak() -> None:
    loudness = sound()
    loudness.dbfs[1200:] += 15.0
    assert peaks(find_highlights(loudness, SILENT, chat([310], text="which map is this"))) == []


def test_without_chat_loud_and_lively_speech_is_a_highlight() -> None:
    found = find_highlights(sound((300,)), speech((300,)), None)
    assert peaks(found) == pytest.approx([303], abs=5)
    assert found.significance.signals == (Signal.LOUDNESS, Signal.SPEECH)
    assert any("no chat" in note for note in found.notes)


def test_with_nothing_but_sound_loud_moments_are_found_and_it_is_said() -> None:
    found = find_highlights(sound(EVENTS), SILENT, None)
    assert peaks(found) == pytest.approx([start + 3 for start in EVENTS], abs=4)
    assert found.significance.needed == 1
    assert any("only the sound was searched" in note for note in found.notes)


def test_a_highlight_explains_itself_in_words_and_numbers() -> None:
    found = find_highlights(sound(EVENTS), speech(EVENTS), chat([start + 8 for start in EVENTS]))
    highlight = found.highlights[0]
    assert highlight.mood == "hype"
    assert "dB louder" in highlight.explanation
    assert "times as fast as usual" in highlight.explanation
    assert "1 in" in highlight.explanation
    assert [each.p_value for each in highlight.evidence] == sorted(each.p_value for each in highlight.evidence)
    assert {each.signal for each in highlight.evidence} == set(Signal)
    assert highlight.p_value <= found.significance.threshold
    assert "POGGERS" in [message.text for message in highlight.messages]
    assert all(126 <= message.offset_seconds <= 140 for message in highlight.messages)
    assert any("incredible" in segment.text for segment in highlight.said)


def test_examples_are_different_messages_of_people() -> None:
    busy = chat([start + 8 for start in EVENTS])
    bot = [ChatMessage(130.0, "Nightbot", "POGGERS amazing wonderful"), ChatMessage(131.0, "a", "what a shot")]
    messages = tuple(sorted([*busy.messages, *bot], key=lambda message: message.offset_seconds))
    found = find_highlights(sound(EVENTS), SILENT, Chat(messages, 0))
    texts = [message.text for message in found.highlights[0].messages]
    assert len(texts) == len(set(texts))
    assert "what a shot" in texts
    assert "POGGERS amazing wonderful" not in texts


def test_highlights_lie_within_the_recording_and_apart() -> None:
    found = find_highlights(sound((0, 590)), SILENT, chat((2, 592)))
    spans = [(each.start_seconds, each.peak_seconds, each.end_seconds) for each in found.highlights]
    assert all(0 <= start <= peak <= end <= SECONDS for start, peak, end in spans)
    assert all(first[2] <= second[0] for first, second in pairwise(spans))


@pytest.mark.parametrize("seconds", [1, 5, 30])
def test_a_short_recording_is_searched_without_complaint(seconds: int) -> None:
    found = find_highlights(sound(seconds=seconds), SILENT, chat(seconds=seconds))
    assert len(found.timeline.loudness_dbfs) == seconds
    assert any("short" in note for note in found.notes)


def test_digital_silence_has_no_highlight() -> None:
    found = find_highlights(Loudness(np.full(2400, -96.0), 0.25, 600.0), SILENT, chat())
    assert peaks(found) == []


def test_an_empty_chat_is_like_none() -> None:
    found = find_highlights(sound(EVENTS), SILENT, Chat((), 5))
    assert found.significance.signals == (Signal.LOUDNESS,)
    assert found.chat_lag is None


def test_the_lag_of_a_chat_that_does_not_react_is_the_stated_default() -> None:
    found = find_highlights(sound(EVENTS), SILENT, chat())
    assert found.chat_lag is not None
    assert (found.chat_lag.estimated, found.chat_lag.seconds) == (False, 6.0)
    assert any("6 s were taken" in note for note in found.notes)


def test_the_same_input_gives_the_same_findings() -> None:
    one, two = (find_highlights(sound(EVENTS), speech(EVENTS), chat([128])) for _ in range(2))
    assert one.highlights == two.highlights
    assert one.significance == two.significance
