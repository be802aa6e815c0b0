"""The results store: a folder or a bucket with one place per attempt, so that no attempt overwrites another.

<root>/jobs/<job id>/attempts/<attempt>/<name>
<root>/jobs/<job id>/checkpoints/<stage>.json
"""

import contextlib
import os
import posixpath
import re
import uuid
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.core import url_to_fs

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


class ResultStoreError(Exception):
    """The store cannot do what was asked; the message names the URL and what to do."""


def open_store(url: str, **options: Any) -> "ResultStore":
    """Open the store at an fsspec URL such as file:///results or s3://bucket/prefix.

    Options go to the file system. For S3 without an `endpoint_url` of its own, AWS_ENDPOINT_URL is honoured.
    Raises ResultStoreError for a URL that no installed file system understands.
    """
    if urlsplit(url).scheme == "s3":
        endpoint = options.pop("endpoint_url", None) or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint:
            options["client_kwargs"] = {**options.get("client_kwargs", {}), "endpoint_url": endpoint}
    try:
        filesystem, root = url_to_fs(url, **options)
    except (ValueError, ImportError, OSError) as error:
        raise ResultStoreError(f"results URL {url}: {error}; use file:///path or s3://bucket/prefix") from error
    return ResultStore(url, filesystem, root)


class ResultStore:
    """Results by job and attempt, checkpoints by job and stage. All contents are bytes.

    The file systems of fsspec are by many hands: s3fs makes an OSError of most that a bucket says, but lets botocore's
    own exceptions through where no bucket answers. All of them become ResultStoreError.
    """

    def __init__(self, url: str, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        self._url = url.rstrip("/")
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def write_result(self, job_id: str, attempt: int, name: str, content: bytes) -> str:
        """Write a result of an attempt, all of it or nothing; its URL."""
        return self._write(f"jobs/{_safe(job_id)}/attempts/{_attempt(attempt)}/{_safe(name)}", content)

    def read_result(self, job_id: str, attempt: int, name: str) -> bytes:
        """Read a result. Raises ResultStoreError when it is not there."""
        path = f"jobs/{_safe(job_id)}/attempts/{_attempt(attempt)}/{_safe(name)}"
        content = self._read(path)
        if content is None:
            raise ResultStoreError(f"{self._url}/{path} does not exist: did this attempt finish?")
        return content

    def read_end(self, job_id: str, attempt: int, name: str, at_most_bytes: int) -> bytes:
        """The last bytes of a result. Raises ResultStoreError when it is not there."""
        path = f"jobs/{_safe(job_id)}/attempts/{_attempt(attempt)}/{_safe(name)}"
        content = self._read(path, at_most_bytes)
        if content is None:
            raise ResultStoreError(f"{self._url}/{path} does not exist")
        return content

    def delete_result(self, job_id: str, attempt: int, name: str) -> None:
        """Remove one result, and the folders that it leaves empty; nothing happens when it is not there."""
        folder = f"{self._root}/jobs/{_safe(job_id)}/attempts/{_attempt(attempt)}"
        path = f"{folder}/{_safe(name)}"
        try:
            if "file" in self._filesystem.protocol:
                _remove_file(path, (folder, posixpath.dirname(folder), f"{self._root}/jobs/{job_id}"))
            else:
                self._filesystem.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed("remove", f"jobs/{job_id}/attempts/{attempt}/{name}", error) from error

    def attempts(self, job_id: str) -> list[int]:
        """The attempts of a job that left a result, in ascending order."""
        return sorted(int(name) for name in self._names(f"jobs/{_safe(job_id)}/attempts") if name.isdecimal())

    def jobs(self) -> list[str]:
        """Ids of all jobs with something in the store."""
        return sorted(self._names("jobs"))

    def save_checkpoint(self, job_id: str, stage: str, content: bytes) -> None:
        """Keep what a stage has reached, for the next attempt."""
        self._write(f"jobs/{_safe(job_id)}/checkpoints/{_safe(stage)}.json", content)

    def load_checkpoint(self, job_id: str, stage: str) -> bytes | None:
        """What a stage had reached, None where it never saved anything."""
        return self._read(f"jobs/{_safe(job_id)}/checkpoints/{_safe(stage)}.json")

    def delete_job(self, job_id: str) -> None:
        """Remove all results and checkpoints of a job; nothing happens when there are none."""
        path = f"{self._root}/jobs/{_safe(job_id)}"
        try:
            if self._filesystem.exists(path):
                self._filesystem.rm(path, recursive=True)
        except Exception as error:
            raise self._failed("remove", f"jobs/{job_id}", error) from error

    def _write(self, path: str, content: bytes) -> str:
        """Object stores replace an object at once; in a folder a file is renamed into its place."""
        target = f"{self._root}/{path}"
        try:
            if "file" in self._filesystem.protocol:
                self._filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
                _replace_file(target, content)
            else:
                self._filesystem.pipe_file(target, content)
        except Exception as error:
            raise self._failed("write", path, error) from error
        return f"{self._url}/{path}"

    def _read(self, path: str, last_bytes: int | None = None) -> bytes | None:
        start = -last_bytes if last_bytes is not None else None
        try:
            return bytes(self._filesystem.cat_file(f"{self._root}/{path}", start=start))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed("read", path, error) from error

    def _names(self, path: str) -> list[str]:
        try:
            self._filesystem.invalidate_cache()
            found = self._filesystem.ls(f"{self._root}/{path}", detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failed("list", path, error) from error
        return [posixpath.basename(str(name).rstrip("/")) for name in found]

    def _failed(self, operation: str, path: str, error: Exception) -> ResultStoreError:
        return ResultStoreError(
            f"cannot {operation} {self._url}/{path}: {error}; check that the results URL of the queue exists and"
            " that the worker may use it"
        )


def _safe(part: str) -> str:
    """A single path component. Raises ResultStoreError for anything that could lead elsewhere."""
    if not _SAFE.fullmatch(part):
        raise ResultStoreError(f"{part!r} cannot be part of a path: use letters, digits, '.', '_' and '-'")
    return part


def _attempt(attempt: int) -> int:
    if attempt < 1:
        raise ResultStoreError(f"attempt {attempt} cannot be: attempts count from 1")
    return attempt


def _replace_file(target: str, content: bytes) -> None:
    """Write beside the target, force it to disk, rename: a reader sees the old content or the new one."""
    unfinished = f"{target}.{uuid.uuid4().hex}"
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except OSError:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise


def _remove_file(path: str, folders: tuple[str, ...]) -> None:
    """Remove a file if it is there, then those of the folders, innermost first, that hold nothing more."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:  # not empty, or not ours to remove
            return
