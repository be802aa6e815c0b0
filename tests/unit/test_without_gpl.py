"""The image's build takes the GPL encoders out of PyAV, and it still decodes."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from klipstream_pipeline.testvideo import make_video

SCRIPT = Path(__file__).resolve().parents[2] / "pipeline" / "without_gpl.py"
LIBRARIES = Path(av.__file__).parents[1] / "av.libs"
DECODE = """
import sys, av
assert av.__file__.startswith(sys.argv[2]), av.__file__
with av.open(sys.argv[1]) as container:
    print(sum(frame.samples for frame in container.decode(audio=0)))
with av.open(sys.argv[1]) as container:
    print(sum(1 for _ in container.decode(video=0)))
"""


@pytest.mark.skipif(not LIBRARIES.is_dir(), reason="PyAV was not installed from a wheel of Linux")
def test_pyav_decodes_without_the_gpl_encoders(tmp_path: Path) -> None:
    shutil.copytree(LIBRARIES, tmp_path / "av.libs")
    shutil.copytree(Path(av.__file__).parent, tmp_path / "av")
    assert list((tmp_path / "av.libs").glob("libx26*"))
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], check=True)
    assert not list((tmp_path / "av.libs").glob("libx26*"))
    named = [each.name for each in (tmp_path / "av.libs").iterdir() if b"libx264-" in each.read_bytes()]
    assert named == []
    video = make_video(tmp_path / "v.mp4", 10.0, 1).path
    command = [sys.executable, "-c", DECODE, str(video), str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    samples, pictures = done.stdout.split()
    assert int(samples) >= 10 * 16_000
    assert int(pictures) == 50
