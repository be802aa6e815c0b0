"""A program in a terminal of a given size: what its screen shows, and keys pressed."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import pyte

DEADLINE_SECONDS = 90.0
KEYS = {"up": "\x1b[A", "down": "\x1b[B", "tab": "\t", "escape": "\x1b", "ctrl-c": "\x03"}


class Terminal:
    """Use as a context manager; the program is ended with it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        gone = ("NO_COLOR", "COLUMNS", "LINES")
        own = {name: value for name, value in environment.items() if name not in gone} | {"TERM": "xterm-256color"}

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            command, env=own, stdin=secondary, stdout=secondary, stderr=secondary, preexec_fn=take_terminal
        )
        os.close(secondary)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(5)
        os.close(self._primary)

    @property
    def text(self) -> str:
        """What the screen shows now."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display)

    def styles(self, text: str) -> set[str]:
        """Foreground colours of the first place where the text stands."""
        with self._lock:
            for number, line in enumerate(self.screen.display):
                place = line.find(text)
                if place >= 0:
                    return {self.screen.buffer[number][place + n].fg for n in range(len(text))}
        return set()

    def press(self, *keys: str) -> None:
        """Send keys: characters, or names such as down."""
        for key in keys:
            os.write(self._primary, KEYS.get(key, key).encode())

    def resize(self, columns: int, lines: int) -> None:
        """Another size, as when a window is dragged."""
        with self._lock:
            self.screen.resize(lines, columns)
        fcntl.ioctl(self._primary, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process.send_signal(signal.SIGWINCH)

    def until(self, condition: Callable[[str], bool], what: str) -> str:
        """Wait until the screen fits, and return it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(text := self.text):
            assert time.monotonic() < deadline, f"never: {what}\n{text}"
            time.sleep(0.1)
        return text

    def shows(self, *words: str) -> str:
        """Wait until all the words are on the screen."""
        return self.until(lambda text: all(word in text for word in words), " and ".join(words))

    def code(self) -> int:
        """The exit code, waited for."""
        return self._process.wait(timeout=DEADLINE_SECONDS)

    def _read(self) -> None:
        while True:
            try:
                ready, _, _ = select.select([self._primary], [], [], 0.2)
                data = os.read(self._primary, 65536) if ready else b""
            except (OSError, ValueError):
                return
            if ready and not data:
                return
            with self._lock:
                self._stream.feed(data)
