#!/usr/bin/env bash
# The command line with its locked dependencies as one executable file. It unpacks itself once into ~/.shiv.
set -euo pipefail
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/cli.txt --target "$site"
"$bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target "$site" .
# Of ours it holds what the command line imports.
find "$site" -maxdepth 1 -name 'klipstream_*' ! -name 'klipstream_api' ! -name 'klipstream_cli' \
  ! -name 'klipstream_queueing' ! -name '*.dist-info' -exec rm -rf {} +
minor=$("$bin/python" -c 'import sys; print(sys.version_info.minor)')  # its compiled packages fit no other
mkdir -p build
"$bin/shiv" --site-packages "$site" --entry-point klipstream_cli.__main__:run --compressed \
  --python "/usr/bin/env python3.$minor" --output-file build/kubectl-analysis
echo "build/kubectl-analysis"
