"""Entry point: `python -m klipstream_operator`. Settings come from KLIPSTREAM_* variables."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys

import kopf

from klipstream_kube import ApiError, Client, ConfigurationError, LeaseLost, Unreachable, load_connection
from klipstream_operator.handlers import make_registry
from klipstream_operator.log_fields import PlainFormatter
from klipstream_operator.queue_writer import RestartRequested
from klipstream_operator.runtime import Runtime
from klipstream_operator.settings import BadSetting, Settings

log = logging.getLogger("klipstream_operator")
RETRY_SECONDS = 3
RESTART = 64
"""Stands for a requested restart among the exit codes inside this process; nobody outside sees it."""


async def wait_for_api_server(client: Client, stop: asyncio.Event) -> None:
    """Kopf gives up when the API server is away at the start; we wait, and say so, until told to stop."""
    while not stop.is_set():
        try:
            await client.request("GET", "/version")
            return
        except (ApiError, Unreachable) as error:
            log.error("The API server cannot be used yet: %s. Trying again in %d s.", error, RETRY_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RETRY_SECONDS)


async def operate(settings: Settings) -> int:
    """Run until a signal or an error; the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Client(load_connection(), user_agent="klipstream-operator") as client:
        await wait_for_api_server(client, stop)
        if stop.is_set():
            return 0
        runtime = Runtime(settings, client)
        kopf_task = asyncio.create_task(
            kopf.operator(
                registry=make_registry(runtime),
                identity=settings.identity,  # type: ignore[arg-type]  # a str subtype that Kopf does not export
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
                liveness_endpoint=f"http://0.0.0.0:{settings.liveness_port}/healthz",
                stop_flag=stop,
            ),
            name="kopf",
        )
        runtime_task = asyncio.create_task(runtime.run(), name="runtime")
        done, _ = await asyncio.wait({kopf_task, runtime_task}, return_when=asyncio.FIRST_COMPLETED)
        code = 0 if stop.is_set() and runtime_task not in done else 1
        stop.set()
        runtime_task.cancel()
        results = await asyncio.gather(kopf_task, runtime_task, return_exceptions=True)
        for error in results:
            code = max(code, _report(error))
        return code


def _report(error: object) -> int:
    """Log what ended a task; the exit code that it deserves."""
    if error is None or isinstance(error, asyncio.CancelledError):
        return 0
    if isinstance(error, BaseExceptionGroup):
        return max(_report(inner) for inner in error.exceptions)
    if isinstance(error, RestartRequested):
        log.warning("%s asked for a restart: everything is forgotten and read again", error)
        return RESTART
    if isinstance(error, LeaseLost):
        log.error("The Lease was lost, so this replica stops and starts anew: %s", error)
        return 1
    if isinstance(error, BaseException):
        log.critical("A background task died, and the process with it", exc_info=error)
    return 1


def main() -> int:
    """Read the settings, run, and say what was wrong in one line where a person can mend it."""
    try:
        settings = Settings.from_environment()
    except BadSetting as error:
        print(f"klipstream-operator: {error}", file=sys.stderr)
        return 2
    kopf.configure(
        debug=settings.log_level == "DEBUG",
        log_format=kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.PLAIN,
    )
    if settings.log_format == "plain":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(PlainFormatter())
    logging.getLogger("klipstream_operator").setLevel(settings.log_level)
    if settings.log_level != "DEBUG":
        logging.getLogger("kopf.objects").setLevel("WARNING")  # a line for each change of a queue, saying nothing of it
    gc.set_threshold(50_000, 20, 50)
    try:
        code = asyncio.run(operate(settings))
        if code == RESTART:
            # The same process id, and nothing of the old memory.
            os.execv(sys.executable, [sys.executable, "-m", "klipstream_operator"])  # noqa: S606 - no shell wanted
        return code
    except ConfigurationError as error:
        print(f"klipstream-operator: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
