"""What a submission becomes: names, parameters, lists of URLs (pure but for reading the list)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.resources import API_VERSION

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def urls_of(arguments: Sequence[str], file: str | None) -> list[str]:
    """The URLs of the command line and of a file ("-": standard input): one a line, # begins a comment.

    Raises Problem for none, and for what is no http(s) URL, with its line.
    """
    found = [(url, "") for url in arguments]
    if file is not None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Problem(f"{file}: {getattr(error, 'strerror', None) or error}", Exit.USAGE) from error
        for number, line in enumerate(text.splitlines(), 1):
            content = re.sub(r"(^|\s)#.*", "", line).strip()  # a URL may hold a # itself
            if content:
                found.append((content, f"{file}, line {number}: "))
    if not found:
        raise Problem("give at least one URL, or a file of URLs by -f", Exit.USAGE)
    for url, where in found:
        if not re.fullmatch(r"https?://[^\x00-\x20\x7f]+", url):
            raise Problem(f"{where}{url!r} is no http(s) URL", Exit.USAGE)
    return [url for url, _ in found]


def params_of(pairs: Iterable[str]) -> dict[str, str]:
    """Parameters from NAME=VALUE. Raises Problem."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Problem(f"--param {pair!r}: write NAME=VALUE", Exit.USAGE)
        if name in found:
            raise Problem(f"--param {name} is given twice", Exit.USAGE)
        found[name] = value
    return found


def stem_of(url: str) -> str:
    """The beginning of a name for a URL's job: the last part of its path, as far as Kubernetes takes it."""
    parts = urlsplit(url)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2])
    last = last.rpartition(".")[0] if re.fullmatch(r".+\.[A-Za-z0-9]{1,5}", last) else last
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40].strip("-")
    return name or "video"


def manifest(url: str, name: str | None, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    """The AnalysisJob; without a name the API server completes one that begins like the URL's last part."""
    metadata: dict[str, Any] = {"name": name} if name is not None else {"generateName": f"{stem_of(url)}-"}
    if labels:
        metadata["labels"] = labels
    given = {key: value for key, value in spec.items() if value not in (None, {}, [])}
    return {"apiVersion": API_VERSION, "kind": "AnalysisJob", "metadata": metadata, "spec": {"videoUrl": url} | given}
