#!/bin/sh
# Prints the path of a Chromium to drive; installs Debian's where there is none.
set -eu
for name in chromium chromium-browser google-chrome; do
  if command -v "$name"; then exit 0; fi
done
if ! command -v apt-get >/dev/null; then
  echo "There is no Chromium and no apt-get here: install a Chromium and put it on the PATH." >&2
  exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
{ $sudo apt-get install -y -qq --no-install-recommends chromium ||
  { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends chromium; }; } >&2
command -v chromium
