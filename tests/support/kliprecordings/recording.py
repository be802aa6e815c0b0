"""A recording as files: sound or video, chat and truth."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kliprecordings.chatlog import Line, make_chat
from kliprecordings.script import Script, write_script
from kliprecordings.sound import Sound
from kliprecordings.soundtrack import Said, make_soundtrack
from kliprecordings.speech import RATE

CHAT_KINDS = ("steady", "bursty", "unmoved", "none")
PICTURES_PER_SECOND = 5
WIDTH, HEIGHT = 160, 90


@dataclass(frozen=True)
class Recording:
    """What happened, how it sounds, what is said and written."""

    script: Script
    sound: Sound
    said: tuple[Said, ...]
    chat: tuple[Line, ...]


def make_recording(seed: int, seconds: float, chat_kind: str, *, eventful: bool = True) -> Recording:
    """The same recording for the same arguments."""
    script = write_script(seed, seconds, chat_kind, eventful=eventful)
    sound, said = make_soundtrack(script)
    return Recording(script, sound, said, tuple(make_chat(script)))


def chat_json(lines: Sequence[Line], *, twitch: bool) -> str:
    """A chat log in TwitchDownloaderCLI's form or as a plain list."""
    if not twitch:
        return json.dumps([asdict(line) for line in lines])
    comments = [
        {
            "_id": str(number),
            "content_offset_seconds": line.offset,
            "commenter": {"display_name": line.user, "_id": "1", "name": line.user.lower()},
            "message": {"body": line.text, "bits_spent": 0, "fragments": [{"text": line.text, "emoticon": None}]},
        }
        for number, line in enumerate(lines)
    ]
    return json.dumps({"streamer": {"name": "klip", "id": 1}, "comments": comments, "embeddedData": None})


def truth(recording: Recording) -> dict[str, object]:
    """What truth.json says: times in seconds."""
    script = recording.script
    return {
        "seed": script.seed,
        "seconds": script.seconds,
        "chat_kind": script.chat_kind,
        "chat_lag_seconds": script.chat_lag_seconds,
        "moments": [asdict(moment) for moment in script.moments],
        "decoys": [asdict(decoy) for decoy in script.decoys],
        "said": [asdict(each) for each in recording.said],
    }


def write_recording(recording: Recording, folder: Path, name: str, *, picture: bool, twitch: bool = True) -> Path:
    """Write NAME.mp4 (or NAME.m4a without a picture), NAME.chat.json unless there is none, and NAME.truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    media = folder / f"{name}.{'mp4' if picture else 'm4a'}"
    _encode(recording.sound, media, picture=picture)
    if recording.chat:
        (folder / f"{name}.chat.json").write_text(chat_json(recording.chat, twitch=twitch))
    (folder / f"{name}.truth.json").write_text(json.dumps(truth(recording), indent=1))
    return media


def _encode(sound: Sound, path: Path, *, picture: bool) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        if picture:
            video = container.add_stream("mpeg4", rate=PICTURES_PER_SECOND)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        for start in range(0, len(sound), RATE):
            if picture:
                for number in range(start * PICTURES_PER_SECOND // RATE, (start + RATE) * PICTURES_PER_SECOND // RATE):
                    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
                    image[:, : 1 + number % WIDTH] = 190
                    shown = av.VideoFrame.from_ndarray(image, format="rgb24")
                    shown.pts, shown.time_base = number, Fraction(1, PICTURES_PER_SECOND)
                    container.mux(video.encode(shown))
            block = np.ascontiguousarray(sound[start : start + RATE].reshape(1, -1))
            heard = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, start, Fraction(1, RATE)
            container.mux(voice.encode(heard))
        if picture:
            container.mux(video.encode(None))
        container.mux(voice.encode(None))
