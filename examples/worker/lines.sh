#!/bin/sh
# A program that knows nothing of the queue but for the lines that it prints.
set -eu
for percent in 25 50 75; do
  echo "working on ${ANALYSIS_VIDEO_URL:-nothing}"
  echo "::progress $percent Counting: step $percent"
  sleep "${STEP_SECONDS:-0.2}"
done
