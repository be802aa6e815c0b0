"""Sealing on the command line.

  python -m klipstream_sealing keygen --name klipstream-sealing --namespace klipstream | kubectl create -f -
  kubectl -n klipstream get secret klipstream-sealing -o json \\
    | python -m klipstream_sealing rotate | kubectl replace -f -
  kubectl -n klipstream get configmap klipstream-sealing -o jsonpath='{.data.public-key}' > public-key
  python -m klipstream_sealing seal --public-key public-key --namespace media --job-id ID < fields.json

Private keys are only ever written to standard output, for the pipe. What is sealed is read from standard input, since
other users of a machine can read a command line.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from klipstream_sealing.fields import SealedFields, sealed_fields
from klipstream_sealing.hpke import PublicKey
from klipstream_sealing.manifests import manifests, ring_of_secret
from klipstream_sealing.ring import KEPT, BadRing, KeyRing


def main(
    arguments: Sequence[str] | None = None,
    stdin: TextIO = sys.stdin,
    stdout: TextIO = sys.stdout,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Run one command; 0, or 2 with what is wrong on standard error."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "keygen":
                if stdout.isatty():
                    raise BadRing("private keys do not belong on a terminal: pipe this into `kubectl create -f -`")
                print(manifests(KeyRing.new(now()), options.name, options.namespace), file=stdout)
            case "rotate":
                ring, name, namespace, version = ring_of_secret(stdin.read())
                print(manifests(ring.rotated(now(), options.keep), name, namespace, version), file=stdout)
            case "public":
                print(ring_of_secret(stdin.read())[0].public, file=stdout)
            case "seal":
                fields = SealedFields.from_json(stdin.read())
                key = PublicKey.parse(_public_key(options.public_key))
                print(sealed_fields(fields, key, options.namespace, options.job_id), file=stdout)
    except (ValueError, OSError) as error:
        print(f"klipstream_sealing {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _public_key(given: str) -> str:
    """The key itself, or what a file of that name holds."""
    return given if given.startswith("klipstream-") else Path(given).read_text()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m klipstream_sealing", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    keygen = commands.add_parser(
        "keygen", help="print a Secret with a new key ring and a ConfigMap with its public key"
    )
    keygen.add_argument("--name", default="klipstream-sealing")
    keygen.add_argument("--namespace", required=True)
    rotate = commands.add_parser("rotate", help="read the Secret as JSON and print both with a new key")
    rotate.add_argument("--keep", type=int, default=KEPT, help="keys that are left, the new one included")
    commands.add_parser("public", help="read the Secret as JSON and print the public key")
    sealing = commands.add_parser("seal", help="read fields as JSON and print the value of spec.sealed")
    sealing.add_argument("--public-key", required=True, help="the key, or a file that holds it")
    sealing.add_argument("--namespace", required=True, help="of the AnalysisJob")
    sealing.add_argument("--job-id", required=True, help="spec.jobId of the AnalysisJob")
    return parser


if __name__ == "__main__":
    sys.exit(main())
