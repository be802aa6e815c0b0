"""kubectl and helm of one cluster."""

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class CommandFailed(Exception):
    """A command ended with an error; the message holds what it said."""


class Shell:
    """Runs kubectl and helm against one cluster, in one namespace."""

    def __init__(self, kubeconfig: Path | None, tools: Path | None, namespace: str, context: str | None = None) -> None:
        """Without a kubeconfig the user's own, and in it the named context, whatever becomes the current one."""
        self.namespace = namespace
        self._kubectl = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace]
        self._helm = ["helm", *(["--kube-context", context] if context else []), "--namespace", namespace]
        self._environment = dict(os.environ)
        if kubeconfig is not None:
            self._environment["KUBECONFIG"] = str(kubeconfig)
        if tools is not None:
            self._environment["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl; its output. Raises CommandFailed."""
        return self._run([*self._kubectl, *arguments], stdin)

    def helm(self, *arguments: str) -> str:
        """Run helm; its output. Raises CommandFailed."""
        return self._run([*self._helm, *arguments], None)

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """`kubectl get ... -o json`, the items."""
        return list(json.loads(self.kubectl("get", *arguments, "-o", "json"))["items"])

    def watch(self, on_object: Callable[[dict[str, Any]], None], *arguments: str) -> "subprocess.Popen[str]":
        """Follow `kubectl get --watch -o json` in a thread; the process, for the caller to end."""
        command = [*self._kubectl, "get", *arguments, "--watch", "-o", "json"]
        process = subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=_follow, args=(process, on_object), daemon=True).start()
        return process

    def _run(self, command: list[str], stdin: str | None) -> str:
        done = subprocess.run(command, env=self._environment, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def _follow(process: "subprocess.Popen[str]", on_object: Callable[[dict[str, Any]], None]) -> None:
    """kubectl prints one indented JSON document after the other."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("}"):
            on_object(json.loads("".join(lines)))
            lines.clear()
