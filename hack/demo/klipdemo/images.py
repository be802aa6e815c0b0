"""The images that the demo runs: built on this machine, or pushed by the user to a registry."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from klipcluster import ClusterError

HERE = "localhost"
COMPONENTS = ("operator", "pipeline")
FOLDER = Path("build/images")


@dataclass(frozen=True)
class Images:
    """Names of the images: PREFIX/klipstream-COMPONENT:TAG."""

    prefix: str = HERE
    tag: str = "dev"

    def repository(self, component: str) -> str:
        """The name without its tag."""
        return f"{self.prefix}/klipstream-{component}"

    def name(self, component: str) -> str:
        """The whole name."""
        return f"{self.repository(component)}:{self.tag}"

    @property
    def built_here(self) -> bool:
        """Whether they come from build/images; others are pulled by the cluster."""
        return self.prefix == HERE

    def put_into(self, manifest: str) -> str:
        """An example's manifest with these images in place of localhost/klipstream-COMPONENT:dev."""
        for component in COMPONENTS:
            manifest = manifest.replace(Images().name(component), self.name(component))
        return manifest


def build(images: Images) -> None:
    """Build what has changed into build/images. Raises ClusterError."""
    done = subprocess.run(["hack/images/build.sh", *COMPONENTS], env=os.environ | {"TAG": images.tag}, check=False)
    if done.returncode != 0:
        raise ClusterError("the images could not be built, see above (PYTHON_BASE names another base image)")


def load(archive_into_cluster: Callable[[Path], object], marks: Path, cluster: str) -> None:
    """Load the images that `cluster`, named by something that its successor will not have, does not hold yet."""
    marks.mkdir(parents=True, exist_ok=True)
    for component in COMPONENTS:
        wanted = f"{(FOLDER / f'{component}.inputs').read_text().strip()} {cluster}"
        mark = marks / f"loaded-{component}"
        if not mark.exists() or mark.read_text() != wanted:
            archive_into_cluster(FOLDER / f"{component}.tar")
            mark.write_text(wanted)
