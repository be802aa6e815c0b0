#!/usr/bin/env bash
# Make a virtual environment, installing Debian's package for that first where it is missing.
set -euo pipefail
python=$1 venv=$2
[ -x "$venv/bin/python" ] && exit 0
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3 (now: $python)" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo="sudo"
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "python3.$("$python" -c 'import sys; print(sys.version_info.minor)')-venv"
fi
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check hatchling==1.33.0 editables==0.5
