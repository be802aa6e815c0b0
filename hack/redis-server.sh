#!/usr/bin/env bash
# The path of a redis-server for the tests, installing Debian's (7.0, BSD-licensed) where there is none.
set -euo pipefail
command -v redis-server && exit 0
command -v valkey-server && exit 0
if ! command -v apt-get >/dev/null; then
  echo "There is no redis-server and no apt-get here: install Redis or Valkey and put it on the PATH." >&2
  exit 1
fi
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
# In runlevel 1 the package's own service is not started, which nobody asked for. Several tests may ask at once.
install=($sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 redis-server)
{ "${install[@]}" || { $sudo apt-get update -qq && "${install[@]}"; }; } >&2
command -v redis-server
