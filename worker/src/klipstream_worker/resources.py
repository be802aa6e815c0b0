"""What each stage took: time, and peak memory and CPU seconds of the container, or of the process without a cgroup."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

SAMPLE_SECONDS = 1.0
STAGES_AT_MOST = 16
_KIBIBYTE = 1 if sys.platform == "darwin" else 1024
"""ru_maxrss counts KiB on Linux and bytes on macOS."""


class Meter(Protocol):
    """Something that knows what has been used so far."""

    def cpu_seconds(self) -> float:
        """CPU seconds used so far, by children as well."""

    def memory_bytes(self) -> int:
        """Memory in use now that could not be given back, in bytes."""

    def peak_bytes(self) -> int:
        """The most that was ever in use, in bytes; page cache may be part of it."""


class ProcessMeter:
    """What the system says of this process and of its children that have ended."""

    def cpu_seconds(self) -> float:
        return sum(
            used.ru_utime + used.ru_stime
            for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
        )

    def memory_bytes(self) -> int:
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return self.peak_bytes()
        return pages * resource.getpagesize()

    def peak_bytes(self) -> int:
        """Of the largest process."""
        most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return most * _KIBIBYTE


@dataclass(frozen=True)
class CgroupMeter:
    """The container's cgroup, of version 2 or 1: all processes in it, whoever started them."""

    current: Path
    peak: Path
    stat: Path
    inactive_key: str
    cpu: Path

    @classmethod
    def find(
        cls, root: Path = Path("/sys/fs/cgroup"), of_process: Path = Path("/proc/self/cgroup")
    ) -> CgroupMeter | None:
        """The meter of the own cgroup; None where there is none, as on the host itself or on macOS."""
        try:
            lines = [line.split(":", 2) for line in of_process.read_text(encoding="utf-8").splitlines()]
        except OSError:
            return None
        own = {name: path.lstrip("/") for _, names, path in (line for line in lines if len(line) == 3)
               for name in names.split(",")}  # fmt: skip
        for folder in (root / own.get("", ""), root):
            if (folder / "memory.current").is_file() and (folder / "cpu.stat").is_file():
                return cls(folder / "memory.current", folder / "memory.peak", folder / "memory.stat",
                           "inactive_file", folder / "cpu.stat")  # fmt: skip
        for name in ("cpuacct", "cpu,cpuacct", "cpu"):
            cpus = [root / name / own.get("cpuacct", ""), root / name]
            memories = [root / "memory" / own.get("memory", ""), root / "memory"]
            cpu = next((each / "cpuacct.usage" for each in cpus if (each / "cpuacct.usage").is_file()), None)
            memory = next((each for each in memories if (each / "memory.usage_in_bytes").is_file()), None)
            if cpu is not None and memory is not None:
                return cls(memory / "memory.usage_in_bytes", memory / "memory.max_usage_in_bytes",
                           memory / "memory.stat", "total_inactive_file", cpu)  # fmt: skip
        return None

    def cpu_seconds(self) -> float:
        if self.cpu.name == "cpuacct.usage":
            return int(self.cpu.read_text(encoding="ascii")) / 1e9
        return _value(self.cpu, "usage_usec") / 1e6

    def memory_bytes(self) -> int:
        """The working set, as the kubelet counts it: without page cache that has not been used lately."""
        return max(0, int(self.current.read_text(encoding="ascii")) - _value(self.stat, self.inactive_key))

    def peak_bytes(self) -> int:
        try:
            return int(self.peak.read_text(encoding="ascii"))
        except OSError:  # memory.peak came with Linux 5.19
            return sys.maxsize


def _value(file: Path, key: str) -> int:
    for line in file.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _own_peak_bytes() -> int:
    """The most that this process ever had in memory; `ru_maxrss` would count what had forked it as well."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE


@dataclass
class StageUse:
    """What a stage has taken so far."""

    peak_memory_bytes: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass
class StageMeters:
    """Attributes what is used to the stage that is on; memory is looked at once a second and at each change.

    A peak between two looks is seen by the process' own high-water mark where that rises, and in no case is a peak
    larger than the cgroup's own.
    """

    meter: Meter
    clock: Callable[[], float] = time.monotonic
    stages: dict[str, StageUse] = field(default_factory=dict)
    _stage: str | None = None
    _cpu_at: float = 0.0
    _looked_at: float | None = None
    _own_peak: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _pid: int = field(default_factory=os.getpid)

    @classmethod
    def here(cls, container: bool = True) -> StageMeters:
        """By the container's cgroup where there is one; on a laptop the cgroup is the session's."""
        return cls((CgroupMeter.find() if container else None) or ProcessMeter())

    def start(self) -> None:
        """Look at the memory from now on, once a second."""
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._watch, name="klipstream-resources", daemon=True).start()

    def end(self) -> None:
        """Attribute the rest and look no more."""
        self.switch(None)
        self._ended.set()

    def switch(self, stage: str | None) -> str | None:
        """Another stage is on from here, or none; the one before."""
        if os.getpid() != self._pid:
            return None
        with self._lock:
            self.look()
            before, self._stage = self._stage, stage
            self.look()
            return before

    def look(self) -> None:
        """Attribute what was used since the last look."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            cpu_seconds, memory_bytes = self.meter.cpu_seconds(), self.meter.memory_bytes()
            own_peak = _own_peak_bytes()
            if own_peak > self._own_peak > 0:
                memory_bytes = min(max(memory_bytes, own_peak), max(memory_bytes, self.meter.peak_bytes()))
            used, self._cpu_at = max(0.0, cpu_seconds - self._cpu_at), cpu_seconds
            now = self.clock()
            passed, self._looked_at = 0.0 if self._looked_at is None else now - self._looked_at, now
            self._own_peak = max(own_peak, self._own_peak)
            if self._stage is None or (self._stage not in self.stages and len(self.stages) >= STAGES_AT_MOST):
                return
            use = self.stages.setdefault(self._stage, StageUse())
            use.cpu_seconds += used
            use.wall_seconds += passed
            use.peak_memory_bytes = max(use.peak_memory_bytes, memory_bytes)

    def posted(self) -> list[dict[str, Any]]:
        """What a progress post says of the stages so far."""
        self.look()
        with self._lock:
            return [
                {
                    "stage": stage,
                    "peak_memory_bytes": use.peak_memory_bytes,
                    "cpu_seconds": round(use.cpu_seconds, 2),
                    "wall_seconds": round(use.wall_seconds, 2),
                }
                for stage, use in self.stages.items()
            ]

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.look()
