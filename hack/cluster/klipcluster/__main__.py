"""`python -m klipcluster`: the local cluster from the shell."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from klipcluster import releases
from klipcluster.cluster import Cluster
from klipcluster.errors import ClusterError
from klipcluster.go_build import PROGRAMS, Program, binary
from klipcluster.tools import tools_folder


def main() -> int:
    """Parse, do, and say what went wrong in one line."""
    parser = argparse.ArgumentParser(prog="python -m klipcluster", description=__doc__)
    parser.add_argument("--name", default="dev", help="name of the cluster (default: dev)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster up")
    up.add_argument("--control-plane-only", action="store_true", help="no node: needs no root")
    up.add_argument("--audit", action="store_true", help="write an audit log of all writes")
    up.add_argument("--fsync", action="store_true", help="let etcd wait for the disk")
    _takes_kubernetes(up)
    commands.add_parser("down", help="remove the cluster and all that it made")
    commands.add_parser("status", help="say which components run")
    commands.add_parser("list", help="name the clusters of this machine")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    commands.add_parser("env", help="print export lines for the shell")
    commands.add_parser("tools", help="print the folder of kubectl and helm")
    build = commands.add_parser("build", help="compile what is not compiled yet, and fetch kubectl and helm")
    _takes_kubernetes(build)
    load = commands.add_parser("load-image", help="load OCI archives into the node")
    load.add_argument("archives", nargs="+", type=Path)
    try:
        return _run(parser.parse_args())
    except ClusterError as error:
        print(f"klipcluster: {error}", file=sys.stderr)
        return 1


def _takes_kubernetes(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--kubernetes",
        choices=list(releases.RELEASES),
        help=f"minor release; all but {releases.WITH_NODE} as control planes only (default: ${releases.VARIABLE}, else "
        f"{releases.WITH_NODE})",
    )


def _programs(asked: argparse.Namespace) -> Sequence[Program]:
    """What `up` and `build` compile: all that a node takes, or one control plane."""
    release = releases.chosen(asked.kubernetes)
    return PROGRAMS if release == releases.WITH_NODE else (releases.program(release),)


def _run(asked: argparse.Namespace) -> int:
    cluster = Cluster(asked.name)
    match asked.command:
        case "up":
            for program in _programs(asked):
                binary(program)
            began = time.monotonic()
            running = cluster.up(
                control_plane_only=asked.control_plane_only,
                audit=asked.audit,
                fsync=asked.fsync,
                kubernetes=asked.kubernetes,
            )
            print(f"cluster {cluster.name} is up at {running.server} ({time.monotonic() - began:.1f} s)")
            print(f"export KUBECONFIG={running.kubeconfig}")
        case "down":
            cluster.down()
        case "status":
            for component in cluster.processes.names():
                print(f"{component:<26} {cluster.pid(component) or 'not running'}")
            print(f"server {cluster.running().server}")
        case "list":
            print("\n".join(Cluster.names()))
        case "kubeconfig":
            print(cluster.running().kubeconfig)
        case "env":
            print(f"export KUBECONFIG={cluster.running().kubeconfig}")
            print(f"export PATH={tools_folder()}{os.pathsep}$PATH")
        case "tools":
            print(tools_folder())
        case "build":
            for program in _programs(asked):
                print(binary(program))
            print(tools_folder())
        case "load-image":
            for archive in asked.archives:
                cluster.load_image(archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
