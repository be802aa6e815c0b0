"""The sound of a video as a stream of blocks: 16 kHz, mono, decoded in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from klipstream_pipeline.outcome import BadVideo, NoSound

SAMPLES_PER_SECOND = 16_000
BLOCK_SAMPLES = SAMPLES_PER_SECOND
# Containers of media only: a playlist or a list of parts (hls, dash, concat, sdp) in a downloaded file would have
# FFmpeg open what it names, past the address guard, and files of ours as well.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,flv,ogg,wav,mp3,aac,flac,avi,asf,amr,caf,aiff,w64"
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
MOST_BROKEN_PACKETS = 50
"""In a row. FFmpeg conceals a lost packet or two; a file that is broken for good is not read to its end."""


@contextmanager
def open_sound(video: Path) -> Iterator["Sound"]:
    """The first audio stream of a file. Raises BadVideo and NoSound."""
    try:
        with av.open(str(video), options=OPTIONS) as container:
            if not container.streams.audio:
                raise NoSound("the video has no sound, so there is nothing to hear in it")
            yield Sound(container)
    except (av.FFmpegError, EOFError) as error:
        raise BadVideo(f"the file cannot be decoded: {error}") from error


class Sound:
    """Decoded once, from its beginning to its end."""

    def __init__(self, container: "av.container.InputContainer") -> None:
        self._container = container
        self.expected_seconds: float | None = container.duration / av.time_base if container.duration else None
        """What the container says; None where it says nothing."""
        self.skipped_packets = 0

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks of one second, full scale being -1 to 1; the last one is shorter. Raises BadVideo."""
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLES_PER_SECOND)
        waiting: list[NDArray[np.float32]] = []
        length, nothing = 0, True
        for frame in self._frames():
            for mono in resampler.resample(frame):
                samples = mono.to_ndarray().reshape(-1).astype(np.float32, copy=False)
                waiting.append(samples)
                length += len(samples)
            if length >= BLOCK_SAMPLES:
                joined, nothing = np.concatenate(waiting), False
                whole = length // BLOCK_SAMPLES * BLOCK_SAMPLES
                for start in range(0, whole, BLOCK_SAMPLES):
                    yield joined[start : start + BLOCK_SAMPLES]
                # A copy: a view would keep the whole block alive.
                waiting, length = [joined[whole:].copy()], length - whole
        if length:
            yield np.concatenate(waiting)
        elif nothing:
            raise BadVideo("the video's sound is empty")

    def _frames(self) -> Iterator["av.AudioFrame | None"]:
        """All frames, then None, which flushes the resampler. A packet that cannot be decoded is passed over."""
        stream = self._container.streams.audio[0]
        broken, decoded = 0, 0
        for packet in self._container.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError as error:
                broken, self.skipped_packets = broken + 1, self.skipped_packets + 1
                if broken >= MOST_BROKEN_PACKETS:
                    raise BadVideo(f"the sound cannot be decoded: {broken} packets in a row are broken") from error
                continue
            if frames:
                broken, decoded = 0, decoded + len(frames)
                yield from frames
        if decoded == 0 and self.skipped_packets:
            raise BadVideo("the sound cannot be decoded: none of its packets can")
        yield None
