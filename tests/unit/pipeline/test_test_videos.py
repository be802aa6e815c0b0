"""The recordings of the demo: one moment, and nothing that chance could make another of."""

import json
from pathlib import Path

import pytest

from klipstream_pipeline.chat import read_chat
from klipstream_pipeline.highlights import find_highlights
from klipstream_pipeline.loudness import measure_loudness
from klipstream_pipeline.signals import sound_course
from klipstream_pipeline.testvideo import make_chat, make_video
from klipstream_pipeline.transcript import Transcript

SECONDS = 90.0
SILENT = Transcript("none", "", low_confidence=False, segments=())


@pytest.mark.parametrize("seed", [444_407_006, 1427, 1733, 4248, 5586, 50_950, 51_927, 53_518])
def test_the_planted_moment_is_found_and_the_background_is_not(tmp_path: Path, seed: int) -> None:
    """At these seeds a background that wandered by 3 dB had a second highlight."""
    video = make_video(tmp_path / "video.mp4", SECONDS, seed)
    (moment,) = video.moments_seconds
    loudness = measure_loudness(video.path, lambda *_: None)
    chat = read_chat(json.dumps(make_chat(SECONDS, seed, video.moments_seconds)).encode(), SECONDS)
    found = [highlight.peak_seconds for highlight in find_highlights(loudness, SILENT, chat).highlights]
    assert found == pytest.approx([moment], abs=3.0)
    loud = [second for second, p_value in enumerate(sound_course(loudness).p_value) if p_value < 1.0]
    assert loud
    assert all(abs(second - moment) < 6.0 for second in loud)
