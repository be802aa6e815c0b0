"""Whoever asks the nursery for an operator gets that one, also when another one did not wait for his."""

import asyncio
import contextlib
import os
from pathlib import Path

from klipsweep.nursery import Nursery


def environment(kubeconfig: Path, name: str) -> dict[str, str]:
    return {"KUBECONFIG": str(kubeconfig), "KLIPSTREAM_IDENTITY": name, "KLIPSTREAM_NAMESPACES": "none"}


async def test_a_start_that_nobody_waits_for_any_more_is_taken_for_no_other(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{}")
    unread = tmp_path / "first.log"
    os.mkfifo(unread)  # which nobody reads: the first one waits at its log until it is killed
    async with Nursery(tmp_path / "nursery.log") as nursery:
        impatient = asyncio.create_task(nursery.start(environment(kubeconfig, "first"), unread))
        await asyncio.sleep(0)
        impatient.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await impatient
        second = await nursery.start(environment(kubeconfig, "second"), tmp_path / "second.log")
        async with asyncio.timeout(60):
            await asyncio.wait({second.ended})
        assert second.ended.result() == 2, "it ends by itself, for its kubeconfig is wrong"
        assert str(kubeconfig) in (tmp_path / "second.log").read_text()
