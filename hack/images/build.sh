#!/usr/bin/env bash
# Build the images, or those that are named, as OCI archives into build/images: with docker where an engine answers,
# else with buildah.
#
# PYTHON_BASE names another base image, such as a mirror's, and TAG another tag than dev.
# Without PYTHON_BASE, buildah's base image is made of Debian's own packages (Python 3.11), once, kept in the cache.
# The machine's pip settings and certificate authorities are used during the build and never stay in an image.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=${TAG:-dev}
output=build/images
cache=${XDG_CACHE_HOME:-$HOME/.cache}/klipstream
base=${PYTHON_BASE:-localhost/klipstream-python-base:bookworm}
components=("$@")
[ $# -gt 0 ] || components=(operator pipeline relay gateway)
mkdir -p "$output" "$cache"
# Two builds at once would take each other's images away.
if command -v flock >/dev/null; then
  exec 9>"$cache/images.lock"
  flock 9
fi

# macOS has shasum instead.
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256 "$@"; }

say() { printf 'images: %s\n' "$*" >&2; }

# Where a component's Dockerfile is.
folder_of() { if [ "$1" = relay ]; then echo webhook-relay; else echo "$1"; fi; }

inputs_of() {
  local component=$1
  { echo "${PYTHON_BASE:-}"
    cat "$(folder_of "$component")/Dockerfile" "requirements/$component.txt" .dockerignore "$0"
    find api/src kube/src queueing/src netguard/src results/src sealing/src service/src operator/src webhook-relay/src gateway/src pipeline/src pipeline/without_gpl.py worker/src -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum | cut -c1-16
}

with_docker() {
  # Attestations would make an index of each image, which an import into a node does not need.
  BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --quiet ${PYTHON_BASE:+--build-arg "PYTHON_BASE=$PYTHON_BASE"} \
    -f "$(folder_of "$1")/Dockerfile" -t "localhost/klipstream-$1:$tag" . >/dev/null
  docker save -o "$output/$1.tar" "localhost/klipstream-$1:$tag"
}

install_buildah() {
  command -v buildah >/dev/null && command -v mmdebstrap >/dev/null && return
  [ "$(id -u)" -eq 0 ] || { say "buildah and mmdebstrap are missing: run as root, or install them"; exit 1; }
  say "installing buildah and mmdebstrap"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends buildah mmdebstrap >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends buildah mmdebstrap >/dev/null; }
}

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
# A storage of our own, so that nothing else on the machine is touched and `make clean-cache` can drop it.
buildah_() { buildah --root "$cache/containers" --runroot "$cache/containers-run" "$@"; }

make_base() {
  [ -z "${PYTHON_BASE:-}" ] || return 0
  buildah_ inspect --type image "$base" >/dev/null 2>&1 && return
  say "making the base image from Debian's packages"
  local tarball=$cache/base-$$.tar container
  mmdebstrap --quiet --variant=minbase --include=python3-minimal,python3-venv,ca-certificates bookworm "$tarball" 2>/dev/null
  container=$(buildah_ from scratch)
  buildah_ add --quiet "$container" "$tarball" / >/dev/null
  buildah_ commit --quiet "$container" "$base" >/dev/null
  buildah_ rm "$container" >/dev/null
  rm "$tarball"
}

with_buildah() {
  local bundle=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
  local mounts=(--volume "$cache/pip:/root/.cache/pip") arguments=(--build-arg PYTHON_BASE="$base")
  mkdir -p "$cache/pip"
  [ -f /etc/pip.conf ] && mounts+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
  if [ -f "$bundle" ]; then
    mounts+=(--volume "$bundle:/etc/ssl/certs/ca-certificates.crt:ro")
    arguments+=(--build-arg PIP_CERT=/etc/ssl/certs/ca-certificates.crt)
  fi
  # The host's authorities are only mounted: what the RUN steps see does not become part of the image.
  buildah_ bud --quiet --network host --layers=false "${arguments[@]}" "${mounts[@]}" \
    -f "$(folder_of "$1")/Dockerfile" -t "localhost/klipstream-$1:$tag" . >/dev/null
  rm -f "$output/$1.tar"
  buildah_ push --quiet "localhost/klipstream-$1:$tag" "oci-archive:$output/$1.tar:localhost/klipstream-$1:$tag" >/dev/null
  buildah_ rmi --force "localhost/klipstream-$1:$tag" >/dev/null
}

for component in "${components[@]}"; do
  began=$SECONDS
  inputs=$(inputs_of "$component")-$tag
  if [ -f "$output/$component.tar" ] && [ "$(cat "$output/$component.inputs" 2>/dev/null)" = "$inputs" ]; then
    say "klipstream-$component:$tag is up to date"
    continue
  fi
  rm -f "$output/$component.inputs"  # an archive that is written only in part is not taken for a whole one
  if docker info >/dev/null 2>&1; then
    with_docker "$component"
  else
    install_buildah
    make_base
    with_buildah "$component"
  fi
  echo "$inputs" > "$output/$component.inputs"
  say "klipstream-$component:$tag built in $((SECONDS - began)) s, $(du -h "$output/$component.tar" | cut -f1) archive"
done
