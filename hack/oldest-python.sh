#!/usr/bin/env bash
# Run the worker SDK's own tests on the oldest Python from 3.9 on that this machine has (or on PYTHON_OLDEST), with the
# wheel installed as a user would install it.
set -euo pipefail
cd "$(dirname "$0")/.."
supported='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))'
python=${PYTHON_OLDEST:-}
if [ -z "$python" ]; then
  for minor in 9 10 11 12 13 14; do
    for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python; do
      if command -v "$candidate" >/dev/null && "$candidate" -c "$supported" 2>/dev/null; then
        python=$candidate
        break 2
      fi
    done
  done
fi
[ -n "$python" ] || { echo "oldest: no Python from 3.9 on with venv; set PYTHON_OLDEST" >&2; exit 1; }
version=$("$python" -c 'import platform; print(platform.python_version())')
echo "oldest: Python $version" >&2
venv=build/oldest/$version
if [ ! -e "$venv/installed" ] || [ requirements/oldest.txt -nt "$venv/installed" ]; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/oldest.txt
  touch "$venv/installed"
fi
rm -rf build/oldest/wheel
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w build/oldest/wheel ./worker
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall build/oldest/wheel/*.whl
KLIPSTREAM_WORKER_INSTALLED=1 PYTHONPATH=tests/support PATH="$PWD/$venv/bin:$PATH" \
  "$venv/bin/python" -m pytest -q -n 3 -p no:cacheprovider --import-mode=importlib -c worker/pytest.ini --rootdir . \
  --confcutdir tests/unit/worker tests/unit/worker
