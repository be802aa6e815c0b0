"""The commands of docs/sealing.md, run as they stand there against a real API server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from klipcluster.tools import tools_folder
from klipstream_sealing import SealedFields
from klipstream_sealing.manifests import ring_of_secret

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "sealing.md"
FIELDS = {"params": {"apiKey": "opensesame"}}


def test_the_guide_makes_a_ring_seals_submits_and_rotates(
    control_plane, kubectl, custom_resources: None, namespace: str, tmp_path: Path
) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    script = "set -euo pipefail\n" + "\n".join(blocks)
    script = re.sub(r"--namespace (klipstream|media)\b", f"--namespace {namespace}", script)
    (tmp_path / "fields.json").write_text(json.dumps(FIELDS))
    environment = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "PATH": f"{tools_folder()}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def get(kind: str) -> dict[str, Any]:
        return dict(json.loads(kubectl("-n", namespace, "get", kind, "-o", "json").stdout))

    ring, *_ = ring_of_secret(json.dumps(get("secret/klipstream-sealing")))
    assert len(ring.keys) == 2
    assert get("configmap/klipstream-sealing")["data"]["public-key"] == str(ring.public)
    (job,) = get("aj")["items"]
    opened = ring.open(job["spec"]["sealed"], namespace, job["spec"]["jobId"])
    assert SealedFields.from_json(opened) == SealedFields.from_json(json.dumps(FIELDS))
