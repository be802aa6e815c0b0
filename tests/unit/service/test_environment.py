"""What environment variables may hold, and what a wrong one is answered."""

from pathlib import Path

import pytest

from klipstream_service import BadSetting, Environment


def of(**variables: str) -> Environment:
    return Environment({f"KLIPSTREAM_{name}": value for name, value in variables.items()})


def test_what_is_not_set_or_empty_has_its_default() -> None:
    for env in (of(), of(A="", B=" ")):
        assert env.text("A", "x") == "x"
        assert env.number("A", 1.5, 0, 2) == 1.5
        assert env.whole("B", 604_800, 0, 10**6) == 604_800
        assert env.whole("B", 4_194_304, 0, 10**7) == 4_194_304, "to the last digit"
        assert env.switch("A", True)
        assert env.choice("B", "one", "two") == "one"
        assert env.words("A") == ()
        assert (env.path("A"), env.file("A"), env.folder("A"), env.content("A")) == (None, None, None, None)
        assert (env.log_level(), env.log_format()) == ("INFO", "plain")


def test_what_is_set_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" s3cret\n")
    env = of(TEXT=" x ", NUMBER="2.5", WHOLE="3", SWITCH="On", OTHER="false", WORDS="b, a,,",
             FILE=str(tmp_path / "secret"), FOLDER=str(tmp_path), LATER="/nowhere",
             LOG_LEVEL="debug", LOG_FORMAT="json")  # fmt: skip
    assert (env.text("TEXT"), env.number("NUMBER", 0, 0, 3), env.whole("WHOLE", 0, 3, 3)) == ("x", 2.5, 3)
    assert (env.switch("SWITCH", False), env.switch("OTHER", True)) == (True, False)
    assert env.words("WORDS") == ("b", "a")
    assert (env.file("FILE"), env.folder("FOLDER")) == (tmp_path / "secret", tmp_path)
    assert env.path("LATER") == Path("/nowhere")
    assert env.content("FILE") == "s3cret"
    assert (env.log_level(), env.log_format()) == ("DEBUG", "json")


@pytest.mark.parametrize(
    ("value", "read", "remedy"),
    [
        ("often", lambda env: env.number("X", 1, 0, 2), "use a number from 0 to 2"),
        ("nan", lambda env: env.number("X", 1, 0, 2), "use a number from 0 to 2"),
        ("2.1", lambda env: env.number("X", 1, 0, 2), "use a number from 0 to 2"),
        ("1.5", lambda env: env.whole("X", 1, 0, 2), "use a whole number"),
        ("perhaps", lambda env: env.switch("X", True), "use on or off"),
        ("three", lambda env: env.choice("X", "one", "two"), "use one or two"),
        ("/nowhere", lambda env: env.file("X"), "there is no such file"),
        ("/dev/null/x", lambda env: env.folder("X"), "there is no such folder"),
        ("/nowhere", lambda env: env.content("X"), "it cannot be read: No such file"),
        ("/dev/null", lambda env: env.content("X"), "the file is empty"),
    ],
)
def test_a_wrong_value_is_named_with_what_may_be_there(value: str, read, remedy: str) -> None:
    with pytest.raises(BadSetting) as raised:
        read(of(X=value))
    assert str(raised.value).startswith(f"KLIPSTREAM_X={value!r}: {remedy}")


def test_wrong_log_settings_are_named() -> None:
    for name in ("LOG_LEVEL", "LOG_FORMAT"):
        with pytest.raises(BadSetting, match=f"KLIPSTREAM_{name}='loud': use"):
            getattr(of(**{name: "loud"}), name.lower())()
