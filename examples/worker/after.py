"""Find the loud seconds of a recording (WAV, 16 bit): python after.py URL"""

import wave
from array import array
from urllib.request import urlretrieve

from klipstream_worker import AnalysisTask


def find_highlights(url, stage):
    recording = wave.open(urlretrieve(url)[0])
    rate = recording.getframerate() * recording.getnchannels()
    loudness = []
    for _ in stage.iterate(range(recording.getnframes() // recording.getframerate())):
        samples = array("h", recording.readframes(recording.getframerate()))
        loudness.append(sum(abs(sample) for sample in samples) / rate)
    usual = sum(loudness) / len(loudness)
    return {"highlights": [second for second, loud in enumerate(loudness) if loud > 3 * usual]}


if __name__ == "__main__":
    with AnalysisTask.from_environment() as task:
        with task.stage("Analyzing") as stage:
            result = find_highlights(task.source_url(), stage)
        task.succeed(f"{len(result['highlights'])} found", result_url=task.write_result("result.json", result))
