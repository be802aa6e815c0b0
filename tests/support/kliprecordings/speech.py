"""Speech by espeak-ng, kept in a cache of this machine, since the same sentences are said in many recordings."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
VOICES = ("en-us", "en-gb", "en-us+m3", "en-us+f2", "en-gb+m5")


class NoSpeech(RuntimeError):
    """espeak-ng is not installed, and it is what speaks here."""


@lru_cache(maxsize=2048)
def say(text: str, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.float32]:
    """16 kHz mono of RMS 1, read-only. Raises NoSpeech."""
    name = hashlib.sha256(repr((text, voice, words_per_minute, pitch)).encode()).hexdigest()[:32]
    file = _cache() / f"{name}.npy"
    if not file.exists():
        spoken = _speak(text, voice, words_per_minute, pitch)
        whole = file.with_suffix(f".{os.getpid()}.npy")
        np.save(whole, spoken)
        whole.replace(file)
    sound: NDArray[np.float32] = np.load(file)
    sound.flags.writeable = False
    return sound


def can_speak() -> bool:
    """Whether espeak-ng is there or can be installed: as root, with apt-get."""
    return shutil.which("espeak-ng") is not None or (shutil.which("apt-get") is not None and os.geteuid() == 0)


def _install() -> None:
    """Get the package; processes that want it at once wait for each other, since apt-get's update does not."""
    with (_cache() / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which("espeak-ng") is not None:
            return
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "espeak-ng"]):
            subprocess.run([*apt, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "klipstream" / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _speak(text: str, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.float32]:
    if not can_speak():
        raise NoSpeech("espeak-ng is needed to make recordings with speech: apt-get install espeak-ng")
    if shutil.which("espeak-ng") is None:
        _install()
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-p", str(pitch), "--stdout", text]
    wave = subprocess.run(command, check=True, capture_output=True).stdout
    # A RIFF header of 44 bytes (its length fields are not set on a pipe), then 16-bit mono.
    rate = int.from_bytes(wave[24:28], "little")
    samples = np.frombuffer(wave[44 : 44 + (len(wave) - 44) // 2 * 2], "<i2").astype(np.float32)
    at = np.arange(int(len(samples) * RATE / rate)) * (rate / RATE)
    sound = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    loud = np.abs(sound) > 0.02 * np.abs(sound).max()
    even: NDArray[np.float32] = sound / np.float32(np.sqrt(np.mean(np.square(sound[loud]))))
    return even
