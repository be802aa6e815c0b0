#!/usr/bin/env bash
# Look up what the images hold in PyPI's advisory database: hack/images/audit.sh BIN. Exit code 1 for a vulnerability, 3
# where the database cannot be reached: then nothing is known, which is said and is no success.
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=$1
worst=0
for component in operator relay gateway pipeline; do
  said=$("$bin/pip-audit" --require-hashes --disable-pip --progress-spinner off -r "requirements/$component.txt" 2>&1)
  code=$?
  if [ $code -eq 0 ]; then
    echo "audit: $component: no known vulnerability in $(grep -c '^[a-z]' "requirements/$component.txt") packages"
  elif grep -q '^Name .*ID' <<<"$said"; then
    printf 'audit: %s:\n%s\n' "$component" "$said" >&2
    worst=1
  else
    echo "audit: $component: the advisory database cannot be used here, so nothing is known: $(tail -n 1 <<<"$said")" >&2
    [ $worst -eq 0 ] && worst=3
  fi
done
exit $worst
