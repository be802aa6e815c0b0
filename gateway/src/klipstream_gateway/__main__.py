"""Entry point: `python -m klipstream_gateway [run|key]`. Settings come from KLIPSTREAM_* variables."""

import argparse
import asyncio
import gc
import json
import signal
import sys
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from klipstream_gateway.keys import new_key
from klipstream_gateway.routes import Scope
from klipstream_gateway.runtime import Runtime
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, ConfigurationError, load_connection
from klipstream_service import BadSetting
from klipstream_service.log_lines import log_to_stderr


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m klipstream_gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="serve (the default)")
    key = commands.add_parser("key", help="make an API key: it is shown once, and its hash goes into a Secret")
    key.add_argument("--name", required=True, help="whose key it is; stands in the audit log")
    key.add_argument("--scope", action="append", required=True, choices=[each.value for each in Scope])
    key.add_argument("--tenant", help="limits the key to this tenant's jobs; not with admin")
    key.add_argument("--days", type=int, help="days until it expires; never where absent")
    key.add_argument("--secret", default="klipstream-api-keys", help="the Secret that the gateway reads keys from")
    return parser.parse_args()


def make_key(asked: argparse.Namespace) -> int:
    """Print a patch of the Secret on standard output, and the key itself on standard error."""
    now = datetime.now(UTC)
    expires = now + timedelta(days=asked.days) if asked.days is not None else None
    try:
        key, stored = new_key(asked.name, tuple(Scope(each) for each in asked.scope), asked.tenant, expires, now)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "key"
        print(f"klipstream-gateway key: {where}: {first['msg']}", file=sys.stderr)
        return 2
    entry = stored.model_dump_json(exclude_none=True)
    print(json.dumps({"stringData": {f"{stored.id}.json": entry}}))
    print(f"The key, shown only now:\n{key}\n\nIt works once its hash is in the Secret:\n"
          f"  kubectl patch secret {asked.secret} --type=merge --patch-file /dev/stdin   # with the line above\n"
          f"To revoke it:\n  kubectl patch secret {asked.secret} --type=json"
          f' -p \'[{{"op":"remove","path":"/data/{stored.id}.json"}}]\'', file=sys.stderr)  # fmt: skip
    return 0


async def run(settings: Settings, client: Client) -> int:
    """Serve until a signal; the exit code."""
    async with client:
        runtime = Runtime(settings, client)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, runtime.stop)
        await runtime.run()
    return 0


def main() -> int:
    """Read the settings, run, and say what was wrong in one line where a person can mend it."""
    asked = _options()
    if asked.command == "key":
        return make_key(asked)
    try:
        connection = load_connection()
        settings = Settings.from_environment(connection.namespace)
    except (BadSetting, ConfigurationError) as error:
        print(f"klipstream-gateway: {error}", file=sys.stderr)
        return 2
    log_to_stderr(settings.log_format, settings.log_level)
    gc.set_threshold(50_000, 20, 50)
    return asyncio.run(run(settings, Client(connection, user_agent="klipstream-gateway")))


if __name__ == "__main__":
    sys.exit(main())
