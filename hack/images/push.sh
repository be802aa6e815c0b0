#!/usr/bin/env bash
# Build the images and push them as PREFIX/klipstream-COMPONENT:TAG, with docker where an engine answers, else with
# buildah. Either asks for nothing: log in to the registry first (docker login, buildah login).
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=${1:-}
tag=${TAG:-dev}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/klipstream
export STORAGE_DRIVER=vfs

if [ -z "$prefix" ]; then
  echo "images: say where to: make push IMAGES=registry.example.com/team" >&2
  exit 2
fi
# A release is told by its tag. Docker's base image by its name alone is another one tomorrow.
if [[ $tag =~ ^v?[0-9]+\.[0-9]+ ]] && [[ ${PYTHON_BASE:-} != *@sha256:* ]]; then
  echo "images: $tag is a release: say on which base by its digest, PYTHON_BASE=docker.io/library/python:3.12-slim@sha256:…" >&2
  exit 2
fi
hack/images/build.sh

for component in operator pipeline relay gateway; do
  archive=build/images/$component.tar name=$prefix/klipstream-$component:$tag
  if docker info >/dev/null 2>&1; then
    docker load --quiet --input "$archive" >/dev/null
    docker tag "localhost/klipstream-$component:$tag" "$name"
    docker push --quiet "$name"
  else
    image=$(buildah --root "$cache/containers" --runroot "$cache/containers-run" pull --quiet "oci-archive:$archive")
    buildah --root "$cache/containers" --runroot "$cache/containers-run" push --quiet "$image" "docker://$name"
    buildah --root "$cache/containers" --runroot "$cache/containers-run" rmi --force "$image" >/dev/null
    echo "$name"
  fi
done
