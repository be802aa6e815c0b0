"""Starts the convex-test server and asks it, as a test needs it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[3]
SECRET = os.environ.get("KLIPSTREAM_RELAY_SECRET", "the-relay-secret-of-these-tests-0123456789")
APP_SECRET = os.environ.get("KLIPSTREAM_APP_SECRET", "the-app-secret-of-these-tests-0123456789ab")
ADMIN_KEY = os.environ.get("CONVEX_DEPLOY_KEY", "test|admin")
LIVE_URL = os.environ.get("CONVEX_URL", "")
"""A real deployment to be tried instead of the convex-test server: `make e2e-convex-live`."""
READY_SECONDS = 120.0
Row = dict[str, Any]


class NotHere(Exception):
    """A real deployment does not fail on demand."""


class CallFailed(AssertionError):
    """The function answered with an error."""


@dataclass(slots=True)
class ConvexTestServer:
    """A running server, empty at first."""

    url: str
    _session: aiohttp.ClientSession = field(repr=False)

    async def call(self, kind: str, function: str, /, **args: Any) -> Any:
        """Call a function as a stranger would. Raises CallFailed."""
        return await self._call(kind, function, args, {})

    async def admin(self, kind: str, function: str, /, **args: Any) -> Any:
        """Call a function, also an internal one, with the deploy key."""
        return await self._call(kind, function, args, {"Authorization": f"Convex {ADMIN_KEY}"})

    async def submit(self, cluster: str, key: str | None = None, **submission: Any) -> str:
        """Queue a video as the app's own server does; the job's id. The same key is the same submission."""
        more = {} if key is None else {"key": key}
        answer = await self.call(
            "mutation", "queue:submit", appSecret=APP_SECRET, cluster=cluster, submission=submission, **more
        )
        return str(answer["jobId"])

    async def rows(self, cluster: str, kind: str = "job") -> dict[str, Row]:
        """What is shown of a cluster's objects, by uid; tombstones are left out."""
        found: dict[str, Row] = {}
        after: str | None = ""
        while after is not None:
            page = await self.admin("query", "sync:pageInternal", cluster=cluster, kind=kind, after=after)
            found |= {row["uid"]: row for row in page["rows"] if not row["deleted"]}
            after = page["next"]
        return found

    async def faults(self, **faults: float | bool) -> None:
        """Make trouble from now on, and no other. Raises NotHere."""
        if LIVE_URL:
            raise NotHere(f"{LIVE_URL} does not fail on demand")
        async with self._session.post(f"{self.url}/_test/faults", json=faults) as response:
            response.raise_for_status()

    async def figures(self) -> dict[str, Any]:
        """What was asked of it since it began."""
        async with self._session.get(f"{self.url}/_test/figures") as response:
            figures: dict[str, Any] = await response.json()
            return figures

    async def _call(self, kind: str, function: str, args: dict[str, Any], headers: dict[str, str]) -> Any:
        body = {"path": function, "args": args, "format": "json"}
        async with self._session.post(f"{self.url}/api/{kind}", json=body, headers=headers) as response:
            answer = await response.json()
        if answer.get("status") != "success":
            raise CallFailed(f"{function}: {answer}")
        return answer["value"]


@asynccontextmanager
async def functions_served(
    log: Path, *, port: int = 0, seed: int = 1, **environment: str
) -> AsyncIterator[ConvexTestServer]:
    """Our functions, served on loopback; the process ends with the block. With LIVE_URL the deployment there."""
    if LIVE_URL:
        async with aiohttp.ClientSession() as session:
            yield ConvexTestServer(LIVE_URL, session)
        return
    known = {"KLIPSTREAM_RELAY_SECRET": SECRET, "KLIPSTREAM_APP_SECRET": APP_SECRET, "CONVEX_TEST_ADMIN_KEY": ADMIN_KEY}
    found = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # node is beside this Python
    command = [str(ROOT / "node_modules/.bin/tsx"), "tests/convex-test-server/main.ts"]
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, "--port", str(port), "--seed", str(seed),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=errors, start_new_session=True,
            env=os.environ | found | known | environment,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        assert line, f"the convex-test server did not start: {log.read_text()}"
        async with aiohttp.ClientSession() as session:
            yield ConvexTestServer(json.loads(line)["url"], session)
    finally:
        # tsx runs node as a child: the group is stopped.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
