#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA kernels, proves them and their Triton twins, measures both, and
# writes gpu.json and gpu.md, within a budget of time. Needs torch of CUDA, nvcc, g++ and the packages that it names.
#   bench/gpu_check.sh [--rehearse] [RESULTS]     PYTHON=python3, RESULTS=gpu-results, STAGES=build,tests,sanitize,bench
#   bench/gpu_check.sh --help                     the other options, and what the exit status means
set -euo pipefail
cd "$(dirname "$0")/.."
command -v "${PYTHON:=python3}" > /dev/null || { echo "gpu_check: no $PYTHON. Set PYTHON." >&2; exit 1; }

# the Triton twins are imported under another name than their folder's; the source tree goes first, whatever is installed
LINKS=$(mktemp -d)
trap 'rm -r "$LINKS"' EXIT
ln -s "$PWD/triton_kernels" "$LINKS/fmcompress_triton"
export PYTHONPATH="$PWD:$LINKS${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
"$PYTHON" bench/gpu_check.py "$@" &
# whoever ends this script ends what it started, which then still writes what there is
trap 'kill -TERM %1 2> /dev/null' TERM INT
status=0
wait %1 || status=$?
while kill -0 %1 2> /dev/null; do wait %1 || status=$?; done
exit "$status"
