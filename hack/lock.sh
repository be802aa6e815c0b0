#!/usr/bin/env bash
# Lock the direct and indirect dependencies with hashes and without any index's address.
set -euo pipefail
uv=$1
cd "$(dirname "$0")/.."
lock() {
  local output=$1; shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes \
    --no-header --no-annotate "$@" pyproject.toml -o "requirements/$output.txt"
}
lock dev --extra operator --extra relay --extra gateway --extra client --extra cli --extra pipeline --extra whisper --extra test --extra lint
# What the images hold is what was tested: the same versions.
for image in operator pipeline relay whisper gateway; do
  lock "$image" --extra "$image" --constraint requirements/dev.txt
done
# In environments of their own: they want other versions than we do, and than one another.
lock static --extra static
lock supply --extra supply
# Installed on top of dev, so of the same versions.
lock kind --extra kind --constraint requirements/dev.txt
lock mutation --extra mutation --constraint requirements/dev.txt
# The SDK's own tests, on the oldest Python that it supports.
"$uv" pip compile --quiet --universal --python-version 3.9 --no-emit-index-url --generate-hashes \
  --no-header --no-annotate --extra test worker/pyproject.toml -o requirements/oldest.txt
lock cli --extra cli --constraint requirements/dev.txt
