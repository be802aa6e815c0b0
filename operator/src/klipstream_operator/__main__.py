"""Entry point: `python -m klipstream_operator`. Settings come from KLIPSTREAM_* variables."""

import asyncio
import gc
import logging
import os
import signal
import sys

import kopf

from klipstream_kube import ApiError, Client, ConfigurationError, LeaseLost, Unreachable, load_connection
from klipstream_operator.handlers import make_registry
from klipstream_operator.health import Health
from klipstream_operator.log_fields import PlainFormatter
from klipstream_operator.queue_writer import RestartRequested
from klipstream_operator.runtime import Runtime
from klipstream_operator.settings import Settings
from klipstream_service import BadSetting
from klipstream_service.pages import pages, probe

log = logging.getLogger("klipstream_operator")
RETRY_SECONDS = 3
RESTART = 64
"""Stands for a requested restart among the exit codes inside this process; nobody outside sees it."""


async def wait_for_api_server(client: Client) -> None:
    """Kopf gives up when the API server is away at the start; we wait, and say so."""
    while True:
        try:
            await client.request("GET", "/version")
            return
        except (ApiError, Unreachable) as error:
            log.error("The API server cannot be used yet: %s. Trying again in %d s.", error, RETRY_SECONDS)
        await asyncio.sleep(RETRY_SECONDS)


async def operate(settings: Settings) -> int:
    """Run until a signal or an error; the exit code, which is 0 after a signal."""
    stop = asyncio.Event()
    _listen(stop)
    # The audit log names the replica.
    async with Client(load_connection(), user_agent=f"klipstream-operator ({settings.identity})") as client:
        runtime = Runtime(settings, client)
        health = Health(settings.lease_seconds, runtime.elector.renewal_age_seconds, settings.linger_seconds)
        healthz = {"/healthz": probe("live", health.problems)}
        async with pages(settings.liveness_host, settings.liveness_port, healthz):
            return await _run(settings, runtime, health, stop)


async def _run(settings: Settings, runtime: Runtime, health: Health, stop: asyncio.Event) -> int:
    """Runtime and Kopf side by side: when one ends, or a signal comes, the runtime hands over and both end."""
    # Kopf cancels, when it ends, every task that was begun after its own; so the runtime is begun before.
    working = asyncio.create_task(runtime.run(), name="runtime")
    asked = asyncio.create_task(stop.wait(), name="signal")
    watching = asyncio.create_task(_run_kopf(settings, runtime, stop), name="kopf")
    await asyncio.wait({working, asked, watching}, return_when=asyncio.FIRST_COMPLETED)
    health.ends()
    code = 0 if stop.is_set() else 1
    runtime.stop()
    await asyncio.wait({working})
    for task in (asked, watching):
        task.cancel()
    for error in await asyncio.gather(working, watching, return_exceptions=True):
        code = max(code, _report(error))
    return code


async def _run_kopf(settings: Settings, runtime: Runtime, stop: asyncio.Event) -> None:
    """Kopf, from the time at which the API server answers; it would give up otherwise."""
    await wait_for_api_server(runtime.client)
    ready = asyncio.Event()
    listening = asyncio.create_task(_listen_again(ready, stop), name="signal handlers")
    try:
        await kopf.operator(
            registry=make_registry(runtime),
            identity=settings.identity,  # type: ignore[arg-type]  # a str subtype that Kopf does not export
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            ready_flag=ready,
        )
        if not listening.done():
            stop.set()  # the signal came while Kopf's handlers were in place
    finally:
        listening.cancel()


def _listen(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _listen_again(ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Kopf puts its own signal handlers in place of ours: they would end it, and all tasks with it, at once."""
    await ready.wait()
    _listen(stop)


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
