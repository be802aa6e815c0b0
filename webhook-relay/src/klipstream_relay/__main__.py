"""Entry point: `python -m klipstream_relay [run|list|redeliver|verify|restore-from-convex]`.

Settings come from KLIPSTREAM_* variables.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys

from klipstream_convex.deployment import Away, Deployment, FunctionFailed
from klipstream_convex.restore import restore
from klipstream_convex.settings import Settings as ConvexSettings
from klipstream_kube import ApiError, Client, ConfigurationError, LeaseLost, Unreachable, load_connection
from klipstream_kube.clock import steady_clock
from klipstream_relay import operations
from klipstream_relay.acknowledgement import ANALYSIS_JOBS
from klipstream_relay.deliveries import State
from klipstream_relay.ledger import Ledger, LedgerInUse
from klipstream_relay.metrics import Metrics
from klipstream_relay.operations import CannotDo
from klipstream_relay.runtime import Runtime
from klipstream_relay.settings import Settings
from klipstream_service import BadSetting
from klipstream_service.log_lines import log_to_stderr

log = logging.getLogger("klipstream_relay")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m klipstream_relay", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="announce and deliver (the default)")
    listing = commands.add_parser("list", help="show deliveries, the latest first")
    listing.add_argument("--state", choices=[each.value for each in State], help="only these")
    listing.add_argument("--endpoint", help="only of this endpoint, by the key that list shows")
    listing.add_argument("--job", help="only of this job, by its uid or its job id")
    listing.add_argument("--limit", type=int, default=100, help="how many at most (default: 100)")
    listing.add_argument("--json", action="store_true", help="one JSON object a line, with the body")
    again = commands.add_parser("redeliver", help="send deliveries again, with their old webhook-id")
    again.add_argument("ids", nargs="*", metavar="ID", help="a webhook-id")
    again.add_argument("--dead", action="store_true", help="all dead letters")
    again.add_argument("--endpoint", help="only of this endpoint")
    trying = commands.add_parser("verify", help="send a test event to an endpoint of a queue")
    trying.add_argument("endpoint", metavar="NAMESPACE/QUEUE/ENDPOINT")
    restoring = commands.add_parser("restore-from-convex", help="create unfinished jobs anew from what Convex shows")
    restoring.add_argument("--dry-run", action="store_true", help="only say what would be created")
    return parser.parse_args()


async def run(settings: Settings, convex: ConvexSettings | None) -> int:
    """Announce until a signal or an error; the exit code, which is 0 after a signal."""
    now = steady_clock()
    metrics = Metrics(now)
    async with contextlib.AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(Ledger(settings.ledger, metrics.committed))
        user_agent = f"klipstream-relay ({settings.identity})"
        client = await stack.enter_async_context(Client(load_connection(), user_agent=user_agent))
        shown = None
        if convex is not None:
            shown = (convex, await stack.enter_async_context(_deployment(convex)))
        runtime = Runtime(settings, client, ledger, metrics, shown)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, runtime.stop)
        code = 0
        try:
            await runtime.run()
        except* LeaseLost as lost:
            log.error("The Lease was lost, so this relay stops and starts anew: %s", lost.exceptions[0])
            code = 1
    return code


def _deployment(convex: ConvexSettings) -> Deployment:
    return Deployment(convex.url, secret=convex.secret, deploy_key=convex.deploy_key)


async def restore_from_convex(convex: ConvexSettings | None, dry_run: bool) -> int:
    """Create what is missing; 0 where nothing failed."""
    if convex is None:
        raise CannotDo("KLIPSTREAM_CONVEX_URL is not set: it says where the jobs are read from")
    async with _deployment(convex) as deployment, Client(load_connection(), user_agent="klipstream-restore") as client:
        try:
            restored = await restore(deployment, client, ANALYSIS_JOBS, convex.cluster, dry_run=dry_run)
        except (Away, FunctionFailed, ApiError, Unreachable) as error:
            raise CannotDo(f"{error}; nothing is lost by trying again") from error
    for name in restored.made:
        print(f"{'would be created' if dry_run else 'created'}: {name}")
    for name, why in restored.failed.items():
        print(f"could not be created: {name}: {why}", file=sys.stderr)
    print(f"{len(restored.made)} created, {len(restored.there)} there already, {len(restored.failed)} failed")
    return 1 if restored.failed else 0


async def verify(settings: Settings, where: str) -> int:
    """Send a test event; 0 where it arrived."""
    async with Client(load_connection(), user_agent="klipstream-relay-verify") as client:
        arrived, message = await operations.verify(settings, client, where)
    print(("arrived: " if arrived else "did not arrive: ") + message)
    return 0 if arrived else 1


def _command(settings: Settings, convex: ConvexSettings | None, asked: argparse.Namespace) -> int:
    match asked.command:
        case "list":
            state = State(asked.state) if asked.state else None
            operations.list_deliveries(settings.ledger, state, asked.endpoint, asked.job, asked.limit, asked.json)
        case "redeliver":
            count = operations.redeliver(settings.ledger, asked.ids, asked.endpoint, asked.dead)
            print(f"{count} deliveries are sent again")
            return 0 if count else 1
        case "verify":
            return asyncio.run(verify(settings, asked.endpoint))
        case "restore-from-convex":
            return asyncio.run(restore_from_convex(convex, asked.dry_run))
        case _:
            gc.set_threshold(50_000, 20, 50)
            return asyncio.run(run(settings, convex))
    return 0


def main() -> int:
    """Read the settings, run, and say what was wrong in one line where a person can mend it."""
    asked = _options()
    try:
        settings = Settings.from_environment()
        convex = ConvexSettings.from_environment(os.environ)
    except BadSetting as error:
        print(f"klipstream-relay: {error}", file=sys.stderr)
        return 2
    log_to_stderr(settings.log_format, settings.log_level)
    try:
        return _command(settings, convex, asked)
    except (ConfigurationError, LedgerInUse, CannotDo) as error:
        print(f"klipstream-relay: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
