"""Memory while a long recording is heard."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kliprecordings.recording import make_recording

HOURS = 3
RATE = 16_000
SPEECH_SECONDS, EVERY_SECONDS = 10, 300
LISTEN = """
import json, sys
from pathlib import Path
from klipstream_pipeline.engines import choose_engine
from klipstream_pipeline.listening import listen
from klipstream_pipeline.segment_log import SegmentLog
from klipstream_results import open_store

most = {}
class Watch:
    def report(self, share, message):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        hour = min(int(share * int(sys.argv[3])), int(sys.argv[3]) - 1)
        most[hour] = max(most.get(hour, 0), pages)
    def skip_to(self, share, message): pass
    def saved(self, seconds): pass
    def wants_checkpoint(self): return False

choice = choose_engine({"transcriber": "pocketsphinx"}, {})
log = SegmentLog(open_store(f"file://{sys.argv[2]}"), "job", "key")
heard = listen(Path(sys.argv[1]), "", choice, log, Watch())
print(json.dumps({"pages": [most[hour] for hour in sorted(most)], "segments": len(heard.transcript.segments),
                  "seconds": heard.loudness.duration_seconds}))
"""


def long_recording(path: Path) -> None:
    """Three hours in which somebody speaks every five minutes."""
    talk = np.asarray(make_recording(11, 60.0, "none").sound)[: SPEECH_SECONDS * RATE].astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((EVERY_SECONDS - SPEECH_SECONDS) * RATE) * 0.0005
    unit = np.concatenate([talk, noise.astype(np.float32)])
    with av.open(str(path), "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        written = 0
        for _ in range(HOURS * 3600 // EVERY_SECONDS):
            for start in range(0, len(unit), RATE):
                frame = av.AudioFrame.from_ndarray(
                    unit[start : start + RATE].reshape(1, -1), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts, frame.time_base = RATE, written, Fraction(1, RATE)
                written += frame.samples
                container.mux(voice.encode(frame))
        container.mux(voice.encode(None))


@pytest.mark.sweep
@pytest.mark.timeout(1800)
def test_the_third_hour_takes_no_more_memory_than_the_first(tmp_path: Path, figures: Callable[[str], None]) -> None:
    long_recording(tmp_path / "long.m4a")
    command = [sys.executable, "-c", LISTEN, str(tmp_path / "long.m4a"), str(tmp_path / "results"), str(HOURS)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    figures(f"worker: memory in the third hour {found['pages'][HOURS - 1] / found['pages'][0]:.3f} of the first")
    assert found["seconds"] == pytest.approx(HOURS * 3600, abs=1)
    assert found["segments"] >= HOURS * 12
    assert found["pages"][HOURS - 1] <= 1.1 * found["pages"][0], found
