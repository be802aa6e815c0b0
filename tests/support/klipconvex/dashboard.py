"""The example's page, built and served on loopback, and a real browser that looks at it."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from playwright.async_api import Page, async_playwright

from klipconvex.server import ROOT


@asynccontextmanager
async def dashboard(convex_url: str, folder: Path) -> AsyncIterator[Page]:
    """The page, open in Chromium, with nothing on it that is not live."""
    _build(folder)
    app = web.Application()

    async def index(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(folder / "index.html")

    app.router.add_get("/", index)
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    chromium = await asyncio.to_thread(_chromium)
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1100, "height": 700})
            await page.goto(f"http://127.0.0.1:{port}/?convex={convex_url}")
            yield page
            await browser.close()
    finally:
        await runner.cleanup()


def _build(folder: Path) -> None:
    """As an app's build does it."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    vite = [str(ROOT / "node_modules/.bin/vite"), "build", "examples/convex-dashboard", "--outDir", str(folder)]
    built = subprocess.run(vite, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert shutil.which("node", path=environment["PATH"])


def _chromium() -> str:
    done = subprocess.run([str(ROOT / "hack/browser.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[0]
