"""The part of an audit log that is about one namespace."""

from pathlib import Path

from klipjudge.audit import whole


def cut_out(log: Path, start_byte: int, namespace: str, into: Path) -> Path:
    """Copy the lines about a namespace, from a byte of the log on, into a file of their own; returns its path.

    Lines are looked at as bytes: parsing the log of every other namespace would cost more than all judging.
    """
    wanted = f'"namespace":"{namespace}"'.encode()
    with log.open("rb") as lines, into.open("wb") as copy:
        lines.seek(start_byte)
        for line in whole(lines):
            if wanted in line:
                copy.write(line)
    return into
