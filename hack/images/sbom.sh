#!/usr/bin/env bash
# A bill of materials (CycloneDX 1.6, JSON) of each image's Python packages, from its locked requirements with their
# hashes, into build/sbom: hack/images/sbom.sh BIN. The base image's own packages are its publisher's to name.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
mkdir -p build/sbom
for component in operator relay gateway pipeline; do
  "$bin/cyclonedx-py" requirements --output-reproducible --spec-version 1.6 --of JSON \
    -o "build/sbom/$component.cdx.json" "requirements/$component.txt" 2>/dev/null
  count=$("$bin/python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["components"]))' \
    "build/sbom/$component.cdx.json")
  echo "sbom: build/sbom/$component.cdx.json names $count packages"
done
