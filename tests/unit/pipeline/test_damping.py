"""A burst is many people: who is loud, copies or is no person counts less."""

from klipstream_pipeline.chat import ChatMessage
from klipstream_pipeline.damping import weights

LONG = "I have watched this for nine years and never seen it"


def test_people_count_once_each() -> None:
    assert list(weights([ChatMessage(n, f"user{n}", "POG") for n in range(5)])) == [1.0] * 5


def test_the_nth_message_of_one_person_counts_an_nth() -> None:
    assert list(weights([ChatMessage(n, "Ada", "POG") for n in range(4)])) == [1.0, 0.5, 1 / 3, 0.25]


def test_somebody_who_comes_back_counts_again() -> None:
    assert list(weights([ChatMessage(0, "Ada", "hi"), ChatMessage(60, "ada", "hi")])) == [1.0, 1.0]


def test_a_copied_text_counts_less_each_time() -> None:
    assert list(weights([ChatMessage(n, f"user{n}", LONG) for n in range(3)])) == [1.0, 0.5, 1 / 3]


def test_a_short_reaction_is_no_copy() -> None:
    assert list(weights([ChatMessage(n, f"user{n}", "what a play") for n in range(3)])) == [1.0] * 3


def test_bots_and_commands_do_not_count() -> None:
    assert list(weights([ChatMessage(0, "Nightbot", "hi"), ChatMessage(1, "Ada", "!uptime")])) == [0.0, 0.0]


def test_who_only_repeats_long_texts_is_a_bot() -> None:
    assert sum(weights([ChatMessage(200.0 * n, "Helper", LONG) for n in range(9)])) == 0.0


def test_people_without_a_name_are_not_one_person() -> None:
    assert list(weights([ChatMessage(n, "", "hi") for n in range(3)])) == [1.0] * 3
