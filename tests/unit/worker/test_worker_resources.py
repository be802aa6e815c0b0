"""What a stage took is measured by the container's cgroup, of either version, or by the process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from klipstream_worker.resources import STAGES_AT_MOST, CgroupMeter, ProcessMeter, StageMeters, StageUse

MIB = 2**20


def files(folder: Path, **contents: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(content)


def version_2(folder: Path) -> None:
    files(
        folder,
        memory__current=f"{100 * MIB}\n",
        memory__peak=f"{300 * MIB}\n",
        memory__stat=f"anon 1\nfile 2\ninactive_file {30 * MIB}\nactive_file 7\n",
        cpu__stat="usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    )


def version_1(memory: Path, cpu: Path) -> None:
    files(
        memory,
        memory__usage_in_bytes=f"{100 * MIB}",
        memory__max_usage_in_bytes=f"{300 * MIB}",
        memory__stat=f"inactive_file 5\ntotal_inactive_file {30 * MIB}\n",
    )
    files(cpu, cpuacct__usage="2500000000\n")


@pytest.mark.parametrize("of_process", ["0::/\n", "0::/kubepods/pod1/abc\n"], ids=["namespace", "nested"])
def test_a_cgroup_of_version_2_is_found(tmp_path: Path, of_process: str) -> None:
    root, process = tmp_path / "cgroup", tmp_path / "self"
    version_2(root / of_process.strip()[4:])
    process.write_text(of_process)
    meter = CgroupMeter.find(root, process)
    assert meter is not None
    assert (meter.cpu_seconds(), meter.memory_bytes(), meter.peak_bytes()) == (2.5, 70 * MIB, 300 * MIB)


@pytest.mark.parametrize("inside", ["", "docker/abc"], ids=["mounted as the root", "nested"])
def test_a_cgroup_of_version_1_is_found(tmp_path: Path, inside: str) -> None:
    root, process = tmp_path / "cgroup", tmp_path / "self"
    version_1(root / "memory" / inside, root / "cpu,cpuacct" / inside)
    process.write_text("5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    meter = CgroupMeter.find(root, process)
    assert meter is not None
    assert (meter.cpu_seconds(), meter.memory_bytes(), meter.peak_bytes()) == (2.5, 70 * MIB, 300 * MIB)


IN_A_CGROUP = """
import os, pathlib, subprocess, sys, time
for folder in sys.argv[1:]:
    pathlib.Path(folder, "cgroup.procs").write_text(str(os.getpid()))
from klipstream_worker.resources import CgroupMeter, StageMeters
meters = StageMeters(CgroupMeter.find())
meters.start()
meters.switch("Cache")
with open("cache", "wb") as file:
    for _ in range(100):
        file.write(b"x" * 2**20)
time.sleep(1.2)
meters.switch("Child")
burn = "block = bytearray(200 * 2**20)\\nimport time\\nwhile time.process_time() < 1.5: pass"
subprocess.run([sys.executable, "-c", burn], check=True)
meters.end()
for use in meters.posted():
    print(use["peak_memory_bytes"], use["cpu_seconds"])
"""


def test_a_real_cgroup_is_measured_with_its_children_and_without_page_cache(tmp_path: Path) -> None:
    """A container's view of version 1 is made here, which needs root; version 2 gives no memory figures of a child of
    the root without a change of the root's settings."""
    name = f"klipstream-test-{tmp_path.name}"
    folders = [Path("/sys/fs/cgroup", controller, name) for controller in ("memory", "cpuacct")]
    try:
        for folder in folders:
            folder.mkdir()
        assert (folders[0] / "memory.usage_in_bytes").is_file()
    except (OSError, AssertionError):
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        pytest.skip("no cgroup of version 1 can be made here")
    try:
        command = [sys.executable, "-c", IN_A_CGROUP, *map(str, folders)]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), check=True, capture_output=True, text=True)
        cache, child = (line.split() for line in done.stdout.splitlines())
        assert int(cache[0]) < 80 * MIB
        assert 190 * MIB < int(child[0]) < 300 * MIB
        assert 1.4 < float(child[1]) < 10
    finally:
        for folder in folders:
            deadline = time.monotonic() + 5
            while folder.exists() and time.monotonic() < deadline:
                try:
                    folder.rmdir()
                except OSError:  # the kernel takes a moment to see that nobody is in it
                    time.sleep(0.05)


def test_without_a_cgroup_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("0::/user.slice\n")
    assert CgroupMeter.find(tmp_path, tmp_path / "self") is None
    assert CgroupMeter.find(tmp_path, tmp_path / "missing") is None


def test_an_old_kernel_without_a_peak_is_no_reason_to_fail(tmp_path: Path) -> None:
    version_2(tmp_path)
    (tmp_path / "memory.peak").unlink()
    (tmp_path / "self").write_text("0::/\n")
    meter = CgroupMeter.find(tmp_path, tmp_path / "self")
    assert meter is not None
    meters = StageMeters(meter)
    meters.switch("Analyzing")
    meters.end()
    assert meters.stages["Analyzing"].peak_memory_bytes >= 70 * MIB


def test_the_process_and_its_children_are_measured_without_a_cgroup() -> None:
    meters = StageMeters(ProcessMeter())
    meters.switch("Idle")
    time.sleep(0.05)
    meters.switch("Child")
    burn = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    meters.end()
    assert meters.stages["Child"].cpu_seconds >= 0.5
    assert meters.stages["Idle"].cpu_seconds < 0.3
    assert meters.stages["Child"].peak_memory_bytes > MIB


def test_a_short_peak_between_two_looks_is_seen_by_the_high_water_mark() -> None:
    """In a process of its own, whose high-water mark is not raised yet, though that of what started it is."""
    large = b"x" * (400 * 2**20)
    program = """
from klipstream_worker.resources import ProcessMeter, StageMeters
meters = StageMeters(ProcessMeter())
meters.switch("Before"); meters.switch("Peak")
block = b"x" * (200 * 2**20); del block
meters.switch("After"); meters.end()
print(*(meters.stages[name].peak_memory_bytes // 2**20 for name in ("Before", "Peak", "After")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment()
    )
    del large
    before, peak, after = (int(each) for each in done.stdout.split())
    assert peak > before + 150
    assert after < peak - 100, "a peak counts for its own stage"


def environment() -> dict[str, str]:
    import os

    import klipstream_worker

    folder = str(Path(klipstream_worker.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": folder}


class Steps:
    """A meter that says what it is told."""

    def __init__(self) -> None:
        self.cpu, self.memory, self.broken, self.now = 0.0, 10 * 2**30, False, 1000.0

    def cpu_seconds(self) -> float:
        if self.broken:
            raise OSError("gone")
        return self.cpu

    def memory_bytes(self) -> int:
        return self.memory

    def peak_bytes(self) -> int:
        return self.memory


def test_use_is_attributed_to_the_stage_that_is_on() -> None:
    steps = Steps()
    meters = StageMeters(steps, clock=lambda: steps.now)
    assert meters.switch("Outer") is None
    steps.cpu += 1
    steps.now += 10
    outer = meters.switch("Inner")
    assert outer == "Outer"
    steps.cpu += 2
    steps.now += 20
    steps.memory += 5
    meters.switch(outer)
    steps.cpu += 4
    steps.now += 40
    meters.switch(None)
    steps.cpu += 8
    steps.now += 80
    meters.end()
    assert {name: use.cpu_seconds for name, use in meters.stages.items()} == {"Outer": 5, "Inner": 2}
    assert {name: use.wall_seconds for name, use in meters.stages.items()} == {"Outer": 50, "Inner": 20}
    assert meters.stages["Inner"] == StageUse(10 * 2**30 + 5, 2.0, 20.0)


def test_a_meter_that_fails_costs_its_figures_only() -> None:
    steps = Steps()
    meters = StageMeters(steps)
    steps.broken = True
    meters.switch("Analyzing")
    assert meters.posted() == []
    steps.broken = False
    assert [(each["stage"], each["wall_seconds"]) for each in meters.posted()] == [("Analyzing", 0)]


def test_stages_without_end_keep_no_memory() -> None:
    meters = StageMeters(Steps())
    for number in range(1000):
        meters.switch(f"stage {number}")
    meters.end()
    assert len(meters.posted()) == STAGES_AT_MOST


def test_the_memory_is_looked_at_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("klipstream_worker.resources.SAMPLE_SECONDS", 0.01)
    steps = Steps()
    meters = StageMeters(steps)
    meters.start()
    meters.switch("Analyzing")
    steps.memory += 7
    deadline = time.monotonic() + 5
    while meters.stages["Analyzing"].peak_memory_bytes != 10 * 2**30 + 7:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    steps.memory -= 7
    meters.end()
