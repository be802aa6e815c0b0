"""The whole node: pods really run, and `down` gives the machine back as it was. Needs root."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster, ClusterError
from klipcluster.api import Api
from klipcluster.go_build import find_go
from klipcluster.image import write_image
from klipcluster.tools import tools_folder

pytestmark = [pytest.mark.node, pytest.mark.skipif(os.geteuid() != 0, reason="a whole node needs root")]

IMAGE = "localhost/klipstream-probe:1"
PROBE = """\
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	switch os.Args[1] {
	case "serve":
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "served ", r.URL.Path) })
		panic(http.ListenAndServe(":8080", nil))
	case "get":
		// Until the cluster's DNS knows a new Service, its name is asked of the machine's, and anybody may answer.
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			answer, err := client.Get(os.Args[2])
			if err == nil && answer.StatusCode == http.StatusOK {
				body, _ := io.ReadAll(answer.Body)
				fmt.Print(string(body))
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	case "print":
		content, _ := os.ReadFile(os.Args[2])
		fmt.Print(string(content))
	case "eat":
		time.Sleep(2 * time.Second) // one that is killed while it is started did not end for want of memory
		var eaten [][]byte
		for range 64 {
			block := make([]byte, 8<<20)
			for i := range block {
				block[i] = 1
			}
			eaten = append(eaten, block)
		}
		fmt.Print(len(eaten))
	}
}
"""


@dataclass(frozen=True)
class Node:
    """A running node with the probe image loaded."""

    cluster: Cluster
    api: Api
    kubeconfig: Path

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        command = [str(tools_folder() / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def logs(self, name: str) -> str:
        """What an ended pod printed; containerd may still be writing it down when the pod is said to have ended."""
        deadline = time.monotonic() + 15
        while not (said := self.kubectl("logs", name)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return said

    def apply(self, manifest: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps(manifest))

    def run(self, name: str, *arguments: str, **container: Any) -> dict[str, Any]:
        """Start a pod of the probe image and wait for it to be ended, or to serve."""
        self.apply(pod(name, *arguments, **container))
        serving = arguments[0] == "serve"
        return self.wait(name, lambda found: phase(found) in (("Running",) if serving else ("Succeeded", "Failed")))

    def wait(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            found = self.api.reads(f"/api/v1/namespaces/default/pods/{name}") or {}
            if condition(found):
                return found
            time.sleep(0.1)
        raise AssertionError(f"pod {name}: {json.dumps(found.get('status'))}")


def phase(found: dict[str, Any]) -> str:
    return str(found.get("status", {}).get("phase"))


def pod(name: str, *arguments: str, **container: Any) -> dict[str, Any]:
    volumes = container.pop("volumes", [])
    probe = {"name": "probe", "image": IMAGE, "args": list(arguments), **container}
    spec = {"restartPolicy": "Never", "containers": [probe], "volumes": volumes, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def bring_up(cluster: Cluster, image: Path) -> Node:
    running = cluster.up()
    cluster.load_image(image)
    return Node(cluster, Api(running.server, running.kubeconfig.parent), running.kubeconfig)


@pytest.fixture(scope="module")
def probe_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "go.mod").write_text("module probe\n\ngo 1.24\n")
    (folder / "main.go").write_text(PROBE)
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    subprocess.run([find_go(), "build", "-o", "probe", "."], cwd=folder, env=environment, check=True)
    write_image(folder / "probe.tar", IMAGE, folder / "probe", "/probe")
    return folder / "probe.tar"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("n")


@pytest.fixture(scope="module")
def node(state: Path, probe_image: Path) -> Iterator[Node]:
    cluster = Cluster("node", state)
    try:
        yield bring_up(cluster, probe_image)
    finally:
        cluster.down()


@pytest.fixture(scope="module")
def web(node: Node) -> Node:
    node.run("web", "serve", readinessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1})
    ports = [{"port": 80, "targetPort": 8080}]
    service: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    node.apply(service | {"spec": {"selector": {"app": "web"}, "ports": ports}})
    return node


@pytest.mark.parametrize("host", ["web", "web.default.svc.cluster.local"])
def test_a_service_is_reached_by_its_name_from_a_pod(web: Node, host: str) -> None:
    name = f"get-{host.replace('.', '-')}"
    assert phase(web.run(name, "get", f"http://{host}/hello")) == "Succeeded"
    assert web.logs(name) == "served /hello"


def test_the_api_server_proxies_to_a_service(web: Node) -> None:
    web.run("get-first", "get", "http://web/")  # the Service has endpoints from here on
    assert web.kubectl("get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy/through") == "served /through"


def test_exec_reaches_into_a_running_pod(web: Node) -> None:
    assert "nameserver 10.96.0.10" in web.kubectl("exec", "web", "--", "/probe", "print", "/etc/resolv.conf")


def test_too_much_memory_is_an_oom_kill(node: Node) -> None:
    ended = node.run("eater", "eat", resources={"limits": {"memory": "64Mi"}})
    (status,) = ended["status"]["containerStatuses"]
    assert (status["state"]["terminated"]["reason"], status["state"]["terminated"]["exitCode"]) == ("OOMKilled", 137)


def test_a_projected_token_is_bound_to_its_audience_and_pod(node: Node) -> None:
    source = {"serviceAccountToken": {"audience": "worker", "path": "token"}}
    mount = {"name": "token", "mountPath": "/var/run/worker"}
    volume = {"name": "token", "projected": {"sources": [source]}}
    ended = node.run("token", "print", "/var/run/worker/token", volumeMounts=[mount], volumes=[volume])
    token = node.logs("token")

    def review(audience: str) -> dict[str, Any]:
        asked: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        asked |= {"spec": {"token": token, "audiences": [audience]}}
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        return dict(json.loads(node.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(asked)))["status"])

    accepted = review("worker")
    assert accepted["authenticated"]
    assert accepted["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [ended["metadata"]["uid"]]
    assert not review("another").get("authenticated", False)


def test_a_frozen_kubelet_starts_no_pod_until_it_is_thawed(node: Node) -> None:
    node.cluster.freeze("kubelet")
    node.apply(pod("late", "print", "/etc/hostname"))
    node.wait("late", lambda found: bool(found.get("spec", {}).get("nodeName")))
    time.sleep(2)
    assert phase(node.wait("late", lambda found: True)) == "Pending"
    node.cluster.thaw("kubelet")
    node.wait("late", lambda found: phase(found) == "Succeeded")


def test_a_killed_kubelet_comes_back_to_its_running_pods(web: Node) -> None:
    before = web.wait("web", lambda found: True)["status"]["containerStatuses"][0]["containerID"]
    web.cluster.kill("kubelet")
    web.cluster.start("kubelet")
    web.run("after-kubelet", "print", "/etc/hostname")
    assert web.wait("web", lambda found: True)["status"]["containerStatuses"][0]["containerID"] == before


def test_a_refused_second_node_leaves_the_first_alone(web: Node, state: Path) -> None:
    second = Cluster("second", state)
    with pytest.raises(ClusterError, match="another whole node runs here"):
        second.up()
    second.down()
    with pytest.raises(ClusterError, match="another whole node runs here"):
        second.up()
    web.run("after-refusal", "get", "http://web/still")
    assert web.logs("after-refusal") == "served /still"


def test_a_path_too_long_for_a_socket_is_said_so(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    with pytest.raises(ClusterError, match="too long for a socket"):
        Cluster("deep", deep).up()
    assert not deep.exists()
