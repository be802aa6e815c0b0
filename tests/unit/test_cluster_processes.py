"""The processes of a cluster that runs here."""

import sys
import time
from pathlib import Path

from klipcluster.processes import Processes

WITHOUT_ITS_FIRST_THREAD = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_lives_as_long_as_another_does(tmp_path: Path) -> None:
    """So is one that is being killed while a thread waits for the disk: what it listens on is not free yet."""
    processes = Processes(tmp_path)
    processes.start("server", [sys.executable, "-c", WITHOUT_ITS_FIRST_THREAD])
    pid = processes.pid("server")
    try:
        deadline = time.monotonic() + 60
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert processes.pid("server") == pid
    finally:
        processes.kill("server")
    assert not processes.alive("server")
