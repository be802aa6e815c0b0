"""Sessions: what a cookie holds, and who can open it."""

import pytest

from klipstream_gateway.dashboard.sessions import SESSION_SECONDS, TOKEN_CHARACTERS, Sessions, TooLong

TOKEN = "klip_0123456789ab_" + "s" * 43


def test_a_cookie_hides_the_credential_and_gives_it_back():
    sessions = Sessions(None)
    cookie = sessions.make(TOKEN)
    assert TOKEN not in cookie
    session = sessions.open(cookie)
    assert session is not None
    assert session.authorization == f"Bearer {TOKEN}"


def test_a_cookie_that_was_changed_or_is_anothers_is_none():
    sessions = Sessions(None)
    cookie = sessions.make(TOKEN)
    changed = cookie[:-2] + ("AA" if cookie[-2:] != "AA" else "BB")
    for each in (changed, cookie[1:], "", "é", "%", "A" * 20, None, Sessions(None).make(TOKEN)):
        assert sessions.open(each) is None


def test_a_session_ends():
    moment = [1000.0]
    sessions = Sessions(None, now=lambda: moment[0])
    cookie = sessions.make(TOKEN)
    moment[0] += SESSION_SECONDS - 1
    assert sessions.open(cookie) is not None
    moment[0] += 1
    assert sessions.open(cookie) is None


def test_each_session_has_a_form_token_of_its_own():
    sessions = Sessions(None)
    opened = [sessions.open(sessions.make(TOKEN)) for _ in range(2)]
    assert len({each.csrf for each in opened if each is not None}) == 2


def test_replicas_open_each_others_cookies_by_the_folder_they_share(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    cookie = Sessions(tmp_path).make(TOKEN)
    assert Sessions(tmp_path).open(cookie) is not None
    (tmp_path / "b.json").write_text("{}")
    assert Sessions(tmp_path).open(cookie) is None, "a change of keys signs everybody out"


def test_with_a_session_key_a_change_of_api_keys_signs_nobody_out(tmp_path):
    (tmp_path / "session-key").write_text("x" * 64)
    cookie = Sessions(tmp_path).make(TOKEN)
    (tmp_path / "b.json").write_text("{}")
    assert Sessions(tmp_path).open(cookie) is not None
    (tmp_path / "session-key").write_text("y" * 64)
    assert Sessions(tmp_path).open(cookie) is None


def test_what_fits_into_no_cookie_is_refused():
    assert len(Sessions(None).make("t" * TOKEN_CHARACTERS)) < 3900
    with pytest.raises(TooLong):
        Sessions(None).make("t" * (TOKEN_CHARACTERS + 1))


def test_the_key_is_read_anew_now_and_then_and_not_at_each_request(tmp_path):
    moment = [0.0]
    (tmp_path / "session-key").write_text("x" * 64)
    sessions = Sessions(tmp_path, clock=lambda: moment[0])
    cookie = sessions.make(TOKEN)
    (tmp_path / "session-key").write_text("y" * 64)
    moment[0] = 1.9
    assert sessions.open(cookie) is not None
    moment[0] = 2.0
    assert sessions.open(cookie) is None


def test_a_folder_that_cannot_be_read_for_a_moment_signs_nobody_out(tmp_path):
    moment = [0.0]
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    sessions = Sessions(folder, clock=lambda: moment[0])
    cookie = sessions.make(TOKEN)
    folder.rename(tmp_path / "away")
    moment[0] = 2.0
    assert sessions.open(cookie) is not None
