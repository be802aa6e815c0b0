"""What chats and streamers mean, where a general lexicon is wrong or silent."""

import time

import pytest

from klipstream_pipeline.feelings import EMOTIONS, feeling, feelings


@pytest.mark.parametrize(
    "text",
    [
        "POG", "POGGERSSS", "PogChamp", "KEKW", "LUL", "W", "GG", "this is sick", "that was insane", "LETSGOOOO",
        "let's go", "not bad", "klipHype", "😂", "🔥🔥", "<3", ":)", "hahahaha", "no way", "what a play", "jajaja",
    ],
)  # fmt: skip
def test_cheer_is_good(text: str) -> None:
    assert feeling(text).valence > 0.1


@pytest.mark.parametrize(
    "text",
    [
        "L", "big L", "Sadge", "PepeHands", "NotLikeThis", "I feel sick", "sick of this", "not funny", "klipCry",
        "not good at all", "💔", "noooo oh no", "ResidentSleeper", "this isn't fun", "FFFF", "skill issue", "monkaS",
    ],
)  # fmt: skip
def test_grief_is_bad(text: str) -> None:
    assert feeling(text).valence < -0.1


@pytest.mark.parametrize(
    "text",
    ["", "   ", "...", "hello, where are you from", "he killed the boss", "raid", "Kappa", "цифры", "1234", "\x00"],
)
def test_what_says_nothing_about_feelings_is_neutral(text: str) -> None:
    assert feeling(text).intensity == 0.0


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("LULW", "joy"), ("💀💀", "joy"), ("POGGERS", "hype"), ("clip it", "hype"), ("OMG", "surprise"),
        ("???", "surprise"), ("PepeHands", "sadness"), ("rip", "sadness"), ("I hate this", "anger"),
        ("monkaS", "fear"), ("I am scared", "fear"),
    ],
)  # fmt: skip
def test_a_word_shows_its_emotion(text: str, emotion: str) -> None:
    shown = dict(zip(EMOTIONS, feeling(text).emotions, strict=True))
    assert max(shown, key=lambda name: shown[name]) == emotion
    assert shown[emotion] >= 0.5


def test_a_negation_takes_the_emotion_away() -> None:
    assert max(feeling("I am not scared").emotions) == 0.0


def test_a_phrase_is_read_as_a_whole() -> None:
    assert feeling("I am sick of it").emotions == (0.0,) * len(EMOTIONS)


def test_a_wall_of_one_emote_says_it_twice_at_most() -> None:
    assert feeling("KEKW " * 60) == feeling("KEKW KEKW")


def test_repeated_letters_are_one_word() -> None:
    assert feeling("POOOOGGERSSSS").valence == feeling("poggers").valence


def test_every_value_stays_in_its_range() -> None:
    rows = feelings(["POG " * 500, "hate " * 500, "<script>alert(1)</script>", "a" * 100_000, "😂" * 5000])
    assert rows.shape == (5, 2 + len(EMOTIONS))
    assert rows[:, 0].min() >= -1.0
    assert rows[:, 1:].min() >= 0.0
    assert rows.max() <= 1.0


def test_twenty_thousand_different_messages_take_seconds() -> None:
    began = time.process_time()
    feelings([f"that was nice {number}" for number in range(20_000)])
    assert time.process_time() - began < 20.0
