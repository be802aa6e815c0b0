"""How a worker's process ends: exit code, termination message, signals, children and threads. Real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from klipqueue import Queue, status
from klipstream_worker import Ending
from klipstream_worker.termination import MESSAGE_BYTES

StartPython = Callable[..., "subprocess.Popen[str]"]
Said = Callable[[], dict[str, Any]]


def ends(process: subprocess.Popen[str], seconds: float = 30.0) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


@pytest.mark.parametrize(
    ("block", "code", "message"),
    [
        ("pass", 0, {"message": ""}),
        ("task.succeed('3 highlights', result_url='s3://b/r.json')", 0,
         {"message": "3 highlights", "result_url": "s3://b/r.json"}),
        ("task.succeed('early')\nsys.exit(0)", 0, {"message": "early"}),
        ("raise AnalysisError('no audio', error_code='NoAudio', retryable=False, exit_code=65)", 65,
         {"message": "no audio", "error_code": "NoAudio", "retryable": False}),
        ("raise AnalysisError('busy')", 1, {"message": "busy", "error_code": "AnalysisFailed", "retryable": True}),
        ("{}['x']", 1, {"message": "KeyError: 'x'", "error_code": "KeyError", "retryable": True}),
        ("raise MemoryError", 1, {"message": "MemoryError", "error_code": "MemoryError", "retryable": True}),
        ("task.succeed('no')\nraise ValueError('late')", 1,
         {"message": "ValueError: late", "error_code": "ValueError", "retryable": True}),
        ("sys.exit(7)", 7, {"message": "the worker ended itself with exit code 7", "error_code": "WorkerError",
                            "retryable": True}),
        ("sys.exit('give up')", 1, {"message": "give up", "error_code": "WorkerError", "retryable": True}),
        ("raise KeyboardInterrupt", 130, {"message": "interrupted", "error_code": "Cancelled", "retryable": True}),
        ("task.cancel('enough')\ntask.check()", 130,
         {"message": "enough", "error_code": "Cancelled", "retryable": True}),
    ],
)  # fmt: skip
def test_each_end_has_its_exit_code_and_message(
    start_python: StartPython, said: Said, block: str, code: int, message: dict[str, Any]
) -> None:
    assert ends(start_python(block))[0] == code
    assert said() == message


def test_an_unexpected_error_shows_its_traceback(start_python: StartPython) -> None:
    assert "ZeroDivisionError: division by zero" in ends(start_python("1 / 0"))[2]


def test_what_caused_an_error_stands_in_the_log(start_python: StartPython) -> None:
    block = "try:\n    1 / 0\nexcept Exception as error:\n    raise AnalysisError('bad video') from error"
    errors = ends(start_python(block))[2]
    assert "ZeroDivisionError: division by zero" in errors
    assert errors.rstrip().endswith("AnalysisFailed: bad video")


def test_work_goes_on_after_the_block(start_python: StartPython) -> None:
    assert ends(start_python("pass", after="print('after'); sys.exit(3)"))[:2] == (3, "after\n")


STOPPING = """
with task.stage("Analyzing") as stage:
    print("on", flush=True)
    for item in stage.iterate(range(3000)):
        time.sleep(0.01)
"""
DEAF = """
with task.stage("Analyzing") as stage:
    print("on", flush=True)
    time.sleep(60)
"""
PATIENT = """
from klipstream_worker.signals import SignalWatch
SignalWatch.__init__.__defaults__ = (3600.0,)  # nobody is interrupted for not listening
"""
SAYING_WHEN_ASKED = """
demand = SignalWatch.demand
def demand_and_say(watch, reason):
    demand(watch, reason)
    print("asked", flush=True)
SignalWatch.demand = demand_and_say
"""
CLEANING = """
try:
    with task.stage("Analyzing") as stage:
        print("on", flush=True)
        for item in stage.iterate(range(3000)):
            time.sleep(0.01)
finally:
    print("cleaning", flush=True)
    time.sleep(6)
    task.save_checkpoint("whole")
"""


def until_on(process: subprocess.Popen[str], word: str = "on") -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_analysis_where_it_reports(
    start_python: StartPython, queue: Queue, said: Said, number: signal.Signals
) -> None:
    process = start_python(STOPPING, before=PATIENT)
    until_on(process)
    queue.wait_for(lambda: queue.posts)
    process.send_signal(number)
    assert ends(process)[0] == 130
    assert said() == {
        "message": f"the process was told to end ({number.name})", "error_code": "Cancelled", "retryable": True
    }  # fmt: skip


def test_an_analysis_that_does_not_report_is_ended_a_few_seconds_after_the_signal(
    start_python: StartPython, said: Said
) -> None:
    process = start_python(DEAF)
    until_on(process)
    process.terminate()
    began = time.monotonic()
    assert ends(process)[0] == 130
    assert time.monotonic() - began > 3
    assert said()["error_code"] == "Cancelled"


def test_a_second_signal_ends_it_at_once(start_python: StartPython) -> None:
    process = start_python(DEAF, before=PATIENT + SAYING_WHEN_ASKED)
    until_on(process)
    process.send_signal(signal.SIGINT)
    until_on(process, "asked")  # two that wait for the process are one to it
    process.send_signal(signal.SIGINT)
    assert ends(process)[0] == 130


def test_an_analysis_that_is_ending_is_not_disturbed_by_the_signal_that_follows_a_cancel(
    start_python: StartPython, queue: Queue
) -> None:
    queue.reply["desired"] = "Cancel"
    process = start_python(CLEANING)
    until_on(process)
    until_on(process, "cleaning")
    process.terminate()
    assert ends(process)[0] == 130
    assert queue.posts[-1].body["checkpoint"] == '"whole"'


@pytest.mark.parametrize("stale", [True, False])
def test_an_analysis_that_does_not_report_is_ended_when_the_queue_wants_that(
    start_python: StartPython, queue: Queue, said: Said, stale: bool
) -> None:
    queue.reply["desired"] = "Cancel"
    queue.always = status(409) if stale else None
    process = start_python(DEAF)
    until_on(process)
    assert ends(process)[0] == (75 if stale else 130)
    assert said()["error_code"] == ("StaleAttempt" if stale else "Cancelled")


def test_a_signal_while_the_end_is_told_does_not_undo_it(start_python: StartPython, queue: Queue, said: Said) -> None:
    queue.always = lambda handler: time.sleep(60)
    process = start_python("task.report(50, 'Analyzing')\ntask.succeed('done')\nprint('on')")
    until_on(process)
    time.sleep(2)
    process.terminate()
    assert ends(process)[0] == 0
    assert said() == {"message": "done"}


def test_the_signals_are_given_back(start_python: StartPython) -> None:
    process = start_python("pass", after="print('on'); time.sleep(60)")
    until_on(process)
    process.terminate()
    assert ends(process)[0] == -signal.SIGTERM


def test_a_task_outside_the_main_thread_leaves_signals_alone(start_python: StartPython, said: Said) -> None:
    before = """
import threading
def analyse():
    with AnalysisTask.from_environment() as task, task.stage("Analyzing") as stage:
        list(stage.iterate(range(10)))
        task.succeed("in a thread")
thread = threading.Thread(target=analyse); thread.start(); thread.join(); sys.exit(0)
"""
    assert ends(start_python("pass", before=before))[0] == 0
    assert said() == {"message": "in a thread"}


FORKED = """
with task.stage("Analyzing") as stage:
    child = os.fork()
    if child == 0:
        stage.report(0.9)
        task.save_checkpoint("child's")
        task.check()
        sys.exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    stage.report(0.5)
task.succeed("the parent's")
"""


def test_a_forked_child_that_leaves_the_block_tells_nothing(
    start_python: StartPython, queue: Queue, said: Said
) -> None:
    code, _, errors = ends(start_python(FORKED))
    assert code == 0, errors
    assert said() == {"message": "the parent's"}
    assert all("checkpoint" not in each.body and each.body["percentage"] != 76 for each in queue.posts)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_works_and_is_terminated(
    start_program: StartPython, tmp_path: Any, said: Said, queue: Queue, method: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, time
from klipstream_worker import AnalysisTask

def square(number):
    time.sleep(0.01)
    return number * number

if __name__ == "__main__":
    with AnalysisTask.from_environment() as task, task.stage("Analyzing") as stage:
        context = multiprocessing.get_context({method!r})
        with context.Pool(2) as pool:
            total = sum(stage.iterate(pool.imap_unordered(square, range(20)), total=20))
        # Leaving the block has terminated the pool, whose processes were forked with our signal handlers.
        process = context.Process(target=time.sleep, args=(60,))
        process.start(); time.sleep(0.3); process.terminate(); process.join(10)
        task.succeed(f"{{total}} {{process.exitcode}}")
""")
    code, _, errors = ends(start_program(sys.executable, str(program)))
    assert code == 0, errors
    assert said() == {"message": f"2470 {-signal.SIGTERM}"}
    assert queue.posts[-1].body["percentage"] == 100


def test_threads_may_report_at_once(start_python: StartPython, queue: Queue) -> None:
    block = """
from concurrent.futures import ThreadPoolExecutor
with task.stage("Analyzing") as stage, ThreadPoolExecutor(8) as threads:
    list(threads.map(lambda number: stage.report(number / 2000), range(2000)))
"""
    assert ends(start_python(block))[0] == 0
    assert queue.percentages == sorted(queue.percentages)


def test_a_message_of_a_child_process_stays_where_nothing_better_is_known(
    start_python: StartPython, said: Said
) -> None:
    write = """open(os.environ["ANALYSIS_TERMINATION_LOG"], "w").write('{"message": "the child\\'s"}')"""
    assert ends(start_python(write))[0] == 0
    assert said() == {"message": "the child's"}
    assert ends(start_python(f"{write}\ntask.succeed('mine')"))[0] == 0
    assert said() == {"message": "mine"}
    assert ends(start_python("pass"))[0] == 0
    assert said() == {"message": ""}, "what an earlier run left is not taken for the child's"


@pytest.mark.parametrize("character", ["x", "é", "☃", "𝄞", '"', "\n", "\x00", "\udcff"])
@pytest.mark.parametrize("length", [10, 1000, 4096, 100_000])
def test_a_termination_message_keeps_to_4_kib_and_to_whole_characters(character: str, length: int) -> None:
    encoded = Ending("é" + character * length, "s3://bucket/result.json", "Cöde!", False).encoded()
    assert len(encoded) <= MESSAGE_BYTES
    said = json.loads(encoded.decode("utf-8"))
    shown = character.encode("utf-8", "replace").decode()
    cut = said["message"].endswith("…")
    assert said["message"].rstrip("…") == "é" + shown * (len(said["message"]) - 1 - cut)
    assert not cut or len(encoded) > MESSAGE_BYTES - 12, "it says as much as it may"
    assert (said["result_url"], said["error_code"]) == ("s3://bucket/result.json", "Cde")


def test_an_exit_code_of_an_error_is_none_of_success(start_python: StartPython) -> None:
    code, _, errors = ends(start_python("raise AnalysisError('x', exit_code=0)"))
    assert code == 1
    assert "1 to 255" in errors


def test_a_result_url_that_would_be_cut_is_refused(start_python: StartPython, said: Said) -> None:
    assert ends(start_python("task.succeed('x', result_url='s3://' + 'x' * 2048)"))[0] == 1
    assert said()["error_code"] == "ValueError"
