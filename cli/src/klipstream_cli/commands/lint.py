"""Check manifests offline, with the messages that the API server would give; exit code 1 for any problem.

Beyond the server's checks: worker templates that Kubernetes would refuse, and two objects of one name.

Examples:

  kubectl analysis lint job.yaml queues/
  kubectl analysis lint - < job.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from klipstream_api.worker_template import problems as template_problems
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.options import Output, OutputOption, no_names
from klipstream_cli.printing import coloured, document, paint, safe, say
from klipstream_cli.resources import API_VERSION, GROUP
from klipstream_cli.validation import problems, refusal, schemas, unknown_fields
from klipstream_cli.yaml_text import BadYaml, load_all


def command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="YAML or JSON files, folders, or - for standard input.")
    ],
    output: OutputOption = Output.TABLE,
) -> int:
    """Check manifests offline."""
    no_names(output, "lint")
    found: list[dict[str, str]] = []
    seen: dict[tuple[str, str, str], str] = {}
    checked = 0
    for where, manifest in _manifests(files):
        if isinstance(manifest, BadYaml):
            found.append(_finding(where, "", f"no YAML: {manifest}"))
            continue
        if not _is_ours(manifest):
            continue
        checked += 1
        metadata = manifest.get("metadata") if isinstance(manifest.get("metadata"), dict) else {}
        name = str((metadata or {}).get("name") or (metadata or {}).get("generateName") or "")
        found += [_finding(where, name, text) for text in check(manifest)]
        key = str(manifest.get("kind")), str((metadata or {}).get("namespace", "")), name
        if (metadata or {}).get("name") and key in seen:
            found.append(
                _finding(where, name, f"{key[0]} {name} stands in {seen[key]} as well: the last one would win")
            )
        seen.setdefault(key, where)
    if output.is_document:
        document({"checked": checked, "problems": found}, output)
    else:
        on = coloured()
        for each in found:
            name = f" {each['name']}" if each["name"] else ""
            say(f"{paint('✗', 'red', on)} {each['file']}{name}: {safe(each['message'])}\n")
        say(f"{checked} manifests of {GROUP} checked, {len(found)} problems.\n")
    return int(Exit.FAILED if found else Exit.OK)


def check(manifest: dict[str, Any]) -> list[str]:
    """Everything that is wrong with one manifest of ours."""
    if not isinstance(manifest.get("kind"), str) or manifest["kind"] not in schemas():
        return [f'no matches for kind "{manifest.get("kind")}" in version "{manifest.get("apiVersion")}"']
    if manifest.get("apiVersion") != API_VERSION:
        return [f'no matches for kind "{manifest["kind"]}" in version "{manifest.get("apiVersion")}"']
    found = []
    unknown = unknown_fields(manifest)
    if unknown:
        found.append(f"strict decoding error: {', '.join(unknown)}")
    invalid = problems(manifest)
    if invalid:
        found.append(refusal(manifest, invalid))
    spec = manifest.get("spec")
    if not found and manifest["kind"] == "AnalysisQueue" and isinstance(spec, dict):
        found += template_problems(spec["workerTemplate"]["spec"])
    return found


def _is_ours(manifest: Any) -> bool:
    return isinstance(manifest, dict) and str(manifest.get("apiVersion", "")).startswith(f"{GROUP}/")


def _manifests(files: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Each document with its file, items of Lists one by one; what is no YAML as its error."""
    for file in files:
        for path in _paths(file):
            try:
                text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
                documents = load_all(text)
            except BadYaml as error:
                yield path, error
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise Problem(f"{path}: {getattr(error, 'strerror', None) or error}", Exit.USAGE) from error
            for each in documents:
                if isinstance(each, dict) and each.get("kind") == "List" and isinstance(each.get("items"), list):
                    yield from ((path, item) for item in each["items"])
                else:
                    yield path, each


def _paths(file: str) -> list[str]:
    if file == "-" or not Path(file).is_dir():
        return [file]
    return sorted(str(path) for path in Path(file).rglob("*") if path.suffix in (".yaml", ".yml", ".json"))


def _finding(file: str, name: str, message: str) -> dict[str, str]:
    return {"file": file, "name": name, "message": message}
