"""What a process holds, sampled while it runs, and whether that grows."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TASKS = re.compile(r"^klipstream_operator_tasks (\S+)$", re.MULTILINE)

MEMORY_KIB_PER_MINUTE = 512
"""Growth that is taken for a leak. A run of a few minutes cannot tell less from the allocator's noise."""
MEMORY_NOISE_KIB = 8 * 1024
"""Growth in all that is taken for noise: buffers, caches and pools that fill up to their bounds."""
COUNT_NOISE = 16
"""By how many a median of files, tasks or watches may differ: connections that are open at the moment."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at a moment."""

    at_seconds: float
    memory_kib: int
    """Resident."""
    files: int
    tasks: int
    watches: int


@dataclass(slots=True)
class Life:
    """Samples of one process, in order of time."""

    identity: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return self.samples[-1].at_seconds - self.samples[0].at_seconds if self.samples else 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """What became of a life's figures from its middle third to its last."""

    identity: str
    seconds: float
    memory_kib: tuple[int, int]
    """Median of the second third of its life, and of the last."""
    memory_kib_per_minute: float
    """Slope of the line through all samples after the first third."""
    files: tuple[int, int]
    tasks: tuple[int, int]
    watches: tuple[int, int]

    @property
    def leaks(self) -> list[str]:
        """What grew and should not have."""
        found = []
        grown_kib = self.memory_kib[1] - self.memory_kib[0]
        if self.memory_kib_per_minute > MEMORY_KIB_PER_MINUTE and grown_kib > MEMORY_NOISE_KIB:
            found.append(f"memory grows by {self.memory_kib_per_minute:.0f} KiB a minute ({self.memory_kib} KiB)")
        for what in ("files", "tasks", "watches"):
            before, after = getattr(self, what)
            if after > before + COUNT_NOISE:
                found.append(f"{what} grew from {before} to {after}")
        return [f"{self.identity}: {leak}" for leak in found]

    def __str__(self) -> str:
        def told(pair: tuple[int, int]) -> str:
            return f"{pair[0]} -> {pair[1]}"

        return (
            f"{self.identity} lived {self.seconds:.0f} s: memory {told(self.memory_kib)} KiB "
            f"({self.memory_kib_per_minute:+.0f} KiB a minute), files {told(self.files)}, tasks {told(self.tasks)}, "
            f"watches {told(self.watches)}"
        )


def growth(life: Life) -> Growth:
    """Compare the thirds of a life; the first is its warming up. Raises ValueError for fewer than 6 samples."""
    if len(life.samples) < 6:
        raise ValueError(f"{life.identity} lived too short: {len(life.samples)} samples")
    third = len(life.samples) // 3
    middle, last = life.samples[third:-third], life.samples[-third:]

    def medians(what: str) -> tuple[int, int]:
        return _median([getattr(each, what) for each in middle]), _median([getattr(each, what) for each in last])

    after_warming_up = life.samples[third:]
    return Growth(
        identity=life.identity,
        seconds=life.seconds,
        memory_kib=medians("memory_kib"),
        memory_kib_per_minute=60
        * slope([each.at_seconds for each in after_warming_up], [each.memory_kib for each in after_warming_up]),
        files=medians("files"),
        tasks=medians("tasks"),
        watches=medians("watches"),
    )


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line with the least squares through these points; 0 where they are all at one x."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0


def memory_kib(pid: int) -> int:
    """Resident memory. Raises OSError when the process is gone."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES // 1024


def open_files(pid: int) -> int:
    """Open file descriptors. Raises OSError when the process is gone."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def tasks_in(metrics: str) -> int:
    """Tasks of the event loop, from what the operator's metrics endpoint answers. Raises ValueError without them."""
    found = _TASKS.search(metrics)
    if found is None:
        raise ValueError("klipstream_operator_tasks is not among the metrics")
    return int(float(found.group(1)))


def _median(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]
