"""The full-screen view, in a terminal emulator of two sizes, with keys."""

import uuid

import pytest

from klipfake.world import World, job
from klipterminal import Terminal

SIZES = [(80, 24), (200, 50)]


@pytest.fixture
def queue(stage: World) -> str:
    name = f"q-{uuid.uuid4().hex[:6]}"
    stage.queue(name, maxConcurrentJobs=1, maxRetries=0, retryDelaysSeconds=[1], timeoutSeconds=900)
    return name


def screen(analysis, size: tuple[int, int], *arguments: str) -> Terminal:
    return Terminal(analysis.command("top", *arguments), analysis.environment, *size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_top_shows_what_runs_and_waits_and_its_keys_change_it(stage: World, analysis, queue: str, size) -> None:
    names = [f"{queue[2:]}-{letter}" for letter in "abc"]
    stage.apply(job(names[0], queueName=queue, params={"fake_seconds": "300"}))
    stage.until_phase(names[0], "Running")
    stage.apply(job(names[1], queueName=queue), job(names[2], queueName=queue))
    stage.until(lambda: stage.get("aq", queue)["status"].get("queued") == 2, "two wait")
    with screen(analysis, size) as terminal:
        text = terminal.shows(*names, queue, "1/1 slots", "Running", "q quit")
        lines = text.splitlines()
        assert max(map(len, lines)) <= size[0]
        places = [next(n for n, line in enumerate(lines) if name in line) for name in names]
        assert places == sorted(places), "what runs comes first, then the line"
        if size[0] >= 120:
            terminal.shows("QUEUE", "TRY", "AGE")
        terminal.until(lambda _: terminal.styles("Queued") == {"cyan"}, "phases have colours")
        # The last one is raised, and moves ahead.
        select(terminal, names[2])
        terminal.press("+")
        terminal.shows(f"{names[2]} is HIGH")
        terminal.until(
            lambda text: text.find(names[2], text.find("NAME")) < text.find(names[1], text.find("NAME")),
            "it moved ahead",
        )
        stage.until(lambda: stage.get("aj", names[2])["spec"]["priority"] == "HIGH", "it is HIGH")
        terminal.press("w")
        terminal.shows("The only slot of the queue", "Starts")
        terminal.press("w")
        # A cancel asks first.
        terminal.press("c")
        terminal.shows(f"Cancel {names[2]}? y/n")
        terminal.press("n")
        terminal.shows("nothing was changed")
        terminal.press("c")
        terminal.shows(f"Cancel {names[2]}? y/n")
        terminal.press("y")
        terminal.shows("is being cancelled")
        stage.until_phase(names[2], "Cancelled")
        select(terminal, names[0])
        terminal.press("p")
        terminal.shows(f"Pause the queue {queue}? y/n")
        terminal.press("y")
        terminal.shows(f"{queue} is Paused", "Paused")
        assert stage.get("aq", queue)["spec"]["mode"] == "Paused"
        terminal.until(
            lambda text: any(line.split()[:2] == [queue, "Paused"] for line in text.splitlines()), "the watch tells it"
        )
        terminal.press("p")
        terminal.shows(f"Resume the queue {queue}? y/n")
        terminal.press("y")
        terminal.shows(f"{queue} is Running")
        assert stage.get("aq", queue)["spec"]["mode"] == "Running"
        terminal.press("q")
        assert terminal.code() == 0
    stage.kubectl("patch", "aj", names[0], "--type=merge", "-p", '{"spec":{"cancel":true}}')
    stage.until_phase(names[0], "Cancelled")
    stage.kubectl("delete", "aj", *names)


def row_of(text: str, name: str) -> int:
    """The line of the table in which a job stands; -1 where it does not."""
    return next((n for n, line in enumerate(text.splitlines()) if line.startswith(name)), -1)


def selected(terminal: Terminal) -> int:
    """The line that is in reverse."""
    lines = range(terminal.screen.lines)
    return next((n for n in lines if terminal.screen.buffer[n][0].reverse), -1)


def select(terminal: Terminal, name: str) -> None:
    """Go down to a job, a key at a time."""
    while (now := selected(terminal)) != (wanted := row_of(terminal.text, name)):
        terminal.press("down" if now < wanted else "up")
        terminal.until(lambda _, before=now: selected(terminal) not in (-1, before), "the selection moved")


def test_top_follows_its_window_and_ends_by_ctrl_c(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(job(f"{queue[2:]}-a", queueName=queue))
    with screen(analysis, (80, 24)) as terminal:
        terminal.shows(f"{queue[2:]}-a", "Paused")
        terminal.resize(160, 40)
        terminal.shows("QUEUE", "TRY", "AGE")
        stage.kubectl("delete", "aj", f"{queue[2:]}-a")
        terminal.until(lambda text: f"{queue[2:]}-a" not in text, "what is deleted goes away")
        terminal.press("ctrl-c")
        assert terminal.code() in (0, 130)


def test_one_picture_for_pipes(stage: World, analysis, queue: str, tmp_path) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(job(f"{queue[2:]}-a", queueName=queue))
    text = analysis.out("top", "--once")
    assert f"{queue[2:]}-a" in text
    assert "\x1b" not in text
    picture = tmp_path / "top.svg"
    analysis("top", "--once", "--svg", str(picture))
    assert picture.read_text().startswith("<svg")
    assert f"{queue[2:]}-a" in picture.read_text()


def test_watch_draws_bars_in_a_terminal(stage: World, analysis, queue: str) -> None:
    stage.apply(job(f"{queue}-w", queueName=queue, params={"fake_seconds": "3"}))
    with Terminal(analysis.command("watch", f"{queue}-w"), analysis.environment, 100, 24) as terminal:
        terminal.shows(f"{queue}-w Succeeded", "100%")
        assert terminal.code() == 0


def test_a_drain_is_not_ended_by_a_key_alone(stage: World, analysis, queue: str) -> None:
    """Neither one that is seen, nor one that began since."""
    stage.change("aq", queue, mode="Draining")
    with screen(analysis, (120, 30)) as terminal:
        terminal.shows("q quit", "slots")
        while True:
            lines = terminal.text.splitlines()
            if queue in lines[1] and not lines[2].strip():
                break
            terminal.press("tab")
            terminal.until(lambda text, seen=lines: text.splitlines()[1:4] != seen[1:4], "another queue")
        terminal.press("p")
        terminal.shows(f"Resume the queue {queue} and end its drain? y/n")
        stage.change("aq", queue, mode="Paused")
        terminal.until(lambda text: "Paused" in text.splitlines()[1], "the watch tells it")
        terminal.press("y")
        terminal.shows(f"{queue} is Paused by now; nothing was changed")
    assert stage.get("aq", queue)["spec"]["mode"] == "Paused"
