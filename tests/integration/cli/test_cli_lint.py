"""The offline check says what the API server says."""

import json
import re
from typing import Any

import pytest

from klipstream_cli.commands.lint import check
from klipstream_cli.yaml_text import load

API = "analysis.klipstream.io/v1alpha1"
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
URL = "https://example.com/a.mp4"
JOB_SPECS: list[dict[str, Any]] = [
    {"videoUrl": URL},
    {},
    {"videoUrl": "ftp://x"},
    {"videoUrl": URL, "videoUrlFrom": {"name": "a", "key": "b"}},
    {"videoUrl": URL, "priority": "high"},
    {"videoUrl": URL, "maxRetries": 50},
    {"videoUrl": URL, "maxRetries": -1},
    {"videoUrl": URL, "maxRetries": "3"},
    {"videoUrl": URL, "maxRetries": True},
    {"videoUrl": URL, "timeoutSeconds": 0},
    {"videoUrl": URL, "retryDelaysSeconds": []},
    {"videoUrl": URL, "retryDelaysSeconds": list(range(11))},
    {"videoUrl": URL, "retryDelaysSeconds": [90_000]},
    {"videoUrl": URL, "notBefore": "yesterday"},
    {"videoUrl": URL, "notBefore": "2026-13-01T00:00:00Z"},
    {"videoUrl": URL, "notBefore": "2026-01-01T00:00:00+02:00"},
    {"videoUrl": URL, "queueName": "Upper"},
    {"videoUrl": URL, "queueName": "x" * 64},
    {"videoUrl": URL, "params": {"a": 1}},
    {"videoUrl": URL, "params": {"a": "x" * 4097}},
    {"videoUrl": URL, "params": {f"p{n}": "x" * 4000 for n in range(4)}},
    {"videoUrl": URL, "params": {f"p{n}": "" for n in range(33)}},
    {"videoUrl": URL, "resources": {"limits": {"gpu": "1"}}},
    {"videoUrl": URL, "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "500m"}}},
    {"videoUrl": URL, "resources": {"requests": {"cpu": "lots"}}},
    {"videoUrl": URL, "callback": {"url": "http://x.example"}},
    {"videoUrl": URL, "callback": {"url": "https://x.example", "events": ["job.exploded"]}},
    {"videoUrl": URL, "callback": {}},
    {"videoUrl": URL, "cancel": "yes"},
    {"videoUrl": URL, "priority": None},
    {"videoUrl": URL, "jobId": "-a"},
    {"videoUrl": URL, "videoId": "ü" * 129},
    {"videoUrl": [URL]},
    {"videoUrl": 5},
]
QUEUE_SPECS: list[dict[str, Any]] = [
    {"workerTemplate": TEMPLATE},
    {},
    {"workerTemplate": {}},
    {"workerTemplate": TEMPLATE, "maxConcurrentJobs": 1001},
    {"workerTemplate": TEMPLATE, "maxQueueSize": 1_000_001},
    {"workerTemplate": TEMPLATE, "mode": "Stopped"},
    {"workerTemplate": TEMPLATE, "accepts": {}},
    {"workerTemplate": TEMPLATE, "accepts": {"priorities": ["TOP"]}},
    {"workerTemplate": TEMPLATE, "reservedSlots": {"LOW": 1}},
    {"workerTemplate": TEMPLATE, "capacity": {"probeSeconds": 500}},
    {"workerTemplate": TEMPLATE, "results": {"url": "ftp://x/y"}},
    {"workerTemplate": TEMPLATE, "results": {"url": "s3://b/p", "claimName": "c"}},
    {"workerTemplate": TEMPLATE | {"labels": {"a b": "x"}}},
    {"workerTemplate": TEMPLATE | {"annotations": {"-x": "x"}}},
    {"workerTemplate": TEMPLATE, "endpoints": [{"name": "a", "url": URL}, {"name": "a", "url": URL}]},
    {"workerTemplate": TEMPLATE, "sources": {"allowedNetworks": ["10.0.0.0"]}},
]
CASES = [("AnalysisJob", f"job-{n}", spec) for n, spec in enumerate(JOB_SPECS)]
CASES += [("AnalysisQueue", f"queue-{n}", spec) for n, spec in enumerate(QUEUE_SPECS)]
CASES += [("AnalysisQueue", "a.b", {"workerTemplate": TEMPLATE}), ("AnalysisJob", "Upper_Case", {"videoUrl": URL})]


def problems(text: str) -> set[str]:
    """The single problems of an answer; the server goes through its maps in no order."""
    text = text.strip().rpartition(" is invalid: ")[2]
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return set(re.split(r", (?=(?:spec|metadata|<nil>)[.:\[\w]*[\w\]]?: )", text))


def test_lint_says_of_every_manifest_what_the_server_says(alone, kubectl, tmp_path) -> None:
    manifests = {}
    for kind, name, spec in CASES:
        manifests[name] = {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}
        (tmp_path / f"{name}.json").write_text(json.dumps(manifests[name]))
    server = kubectl("create", "--dry-run=server", "--validate=false", "-n", alone.namespace, "-f", str(tmp_path),
                     check=False)  # fmt: skip
    refused = dict(re.findall(r'error when creating "[^"]*/([^"/]+)\.json": (.*)', server.stderr))
    assert len(refused) > len(CASES) / 2, server.stderr
    different = []
    for name, manifest in manifests.items():
        ours, theirs = check(manifest), refused.get(name)
        if problems(" ".join(ours)) != problems(theirs or ""):
            different.append(f"{name} {manifest['spec']}\n  ours   {ours}\n  server {theirs}")
    assert not different, "\n".join(different)


def test_unknown_fields_are_named_as_strict_decoding_names_them(alone, kubectl, tmp_path) -> None:
    manifest = {"apiVersion": API, "kind": "AnalysisJob", "metadata": {"name": "a"}, "extra": 1,
                "spec": {"videoUrl": URL, "priorty": "HIGH", "callback": {"url": URL, "secret": "x"}}}  # fmt: skip
    file = tmp_path / "a.json"
    file.write_text(json.dumps(manifest))
    server = kubectl("create", "--dry-run=server", "--validate=strict", "-n", alone.namespace, "-f", str(file),
                     check=False)  # fmt: skip
    (ours,) = json.loads(alone("lint", str(file), "-o", "json", code=1).stdout)["problems"]
    assert ours["message"].startswith("strict decoding error: ")
    for field in ("extra", "spec.priorty", "spec.callback.secret"):
        assert f'unknown field "{field}"' in ours["message"]
        assert f'unknown field "{field}"' in server.stderr


@pytest.mark.parametrize("folder", ["examples", "charts/klipstream/crds"])
def test_what_is_shipped_passes(alone, folder: str) -> None:
    assert "0 problems" in alone.out("lint", folder)


def test_what_is_no_manifest_is_told_with_its_file(alone, tmp_path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2\n")
    (tmp_path / "kind.yaml").write_text(f"apiVersion: {API}\nkind: AnalysisJobb\nmetadata: {{name: a}}\n")
    (tmp_path / "other.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    text = alone("lint", str(tmp_path), code=1).stdout
    assert "bad.yaml: no YAML: line 2" in text
    assert 'no matches for kind "AnalysisJobb"' in text
    assert "1 manifests" in text
    assert "No such file" in alone("lint", str(tmp_path / "none.yaml"), code=2).stderr
    template = {
        "apiVersion": API,
        "kind": "AnalysisQueue",
        "metadata": {"name": "a"},
        "spec": {"workerTemplate": {"spec": {}}},
    }
    assert "at least one container" in alone("lint", "-", code=1, stdin=json.dumps(template)).stdout


def test_scalars_are_what_kubectl_takes_them_for(alone, kubectl, tmp_path) -> None:
    """Keys as well: kubectl turns YAML into JSON."""
    scalars = ["2026-01-02T03:04:05Z", "2026-01-02", "1:30", "1e3", "1.5e-3", ".5", "1.0", "017", "0x1F", "-7", "yes",
               "y", "N", "off", "~", "1.2.3", "1e", "0b11", "08", "+1", "'1'", "1_000"]  # fmt: skip
    lines = "".join(f"    p{number}: {scalar}\n" for number, scalar in enumerate(scalars))
    text = f"apiVersion: {API}\nkind: AnalysisJob\nmetadata: {{name: a}}\nspec:\n  params:\n{lines}    1: a\n    b: c\n"
    file = tmp_path / "a.yaml"
    file.write_text(text)
    made = kubectl(
        "create", "--dry-run=client", "--validate=false", "-o", "json", "-n", alone.namespace, "-f", str(file)
    )
    assert load(text)["spec"]["params"] == json.loads(made.stdout)["spec"]["params"]
