"""Whoever asks the nursery for an operator gets that one, also when another one did not wait for his."""

import asyncio
import contextlib
from pathlib import Path

from klipsweep.nursery import Nursery


def environment(kubeconfig: Path, name: str) -> dict[str, str]:
    return {"KUBECONFIG": str(kubeconfig), "KLIPSTREAM_IDENTITY": name, "KLIPSTREAM_NAMESPACES": "none"}


async def test_a_start_that_nobody_waits_for_any_more_is_taken_for_no_other(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{}")
    async with Nursery(tmp_path / "nursery.log") as nursery:
        impatient = asyncio.create_task(nursery.start(environment(kubeconfig, "first"), tmp_path / "first.log"))
        await asyncio.sleep(0)
        impatient.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await impatient
        second = await nursery.start(environment(kubeconfig, "second"), tmp_path / "second.log")
        output = Path(f"/proc/{second.pid}/fd/1")
        async with asyncio.timeout(60):
            while output.resolve().parent != tmp_path:  # until the child has made it its own
                await asyncio.sleep(0)
        assert output.resolve().name == "second.log"
