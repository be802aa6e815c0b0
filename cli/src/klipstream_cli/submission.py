"""What a submission becomes: names, parameters, lists of URLs (pure but for reading the list)."""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.resources import with_kind

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
    """The beginning of a name for a URL's job: the last part of its path, as far as Kubernetes takes it.

    Raises Problem for what is no URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:  # of a host in brackets
        raise Problem(f"{url!r} is no URL: {error}", Exit.USAGE) from error
    last = unquote(parts.path.rstrip("/").rpartition("/")[2])
    last = last.rpartition(".")[0] if re.fullmatch(r".+\.[A-Za-z0-9]{1,5}", last) else last
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40].strip("-")
    return name or "video"


def new_batch() -> str:
    """A word that no other submission was given."""
    return secrets.token_hex(4)


def names_of(urls: Sequence[str], batch: str) -> list[str]:
    """A name for each URL's job: the same ones whenever the same URLs are submitted as the same batch.

    Chosen here and not by the API server, so that a submission whose answer was lost can be sent again, and a batch
    that broke off can be begun anew, without a job too many. A URL that is there twice has two jobs.
    """
    count, found = Counter[str](), []
    for url in urls:
        count[url] += 1
        digest = hashlib.sha256(f"{batch}\n{count[url]}\n{url}".encode()).hexdigest()
        found.append(f"{stem_of(url)}-{digest[:10]}")
    return found


def secret_key_of(text: str) -> dict[str, str]:
    """`spec.videoUrlFrom` of SECRET/KEY. Raises Problem."""
    secret, slash, key = text.partition("/")
    if not (slash and NAME.fullmatch(secret) and re.fullmatch(r"[-._a-zA-Z0-9]+", key)):
        raise Problem(f"--url-from {text!r}: write SECRET/KEY", Exit.USAGE)
    return {"name": secret, "key": key}


def manifest(name: str, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    """The AnalysisJob; of the spec what is not None and not empty."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = labels
    given = {key: value for key, value in spec.items() if value not in (None, {}, [])}
    return with_kind({"metadata": metadata, "spec": given}, "AnalysisJob")
