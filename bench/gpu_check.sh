#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA kernels, proves them and their Triton twins, measures both, and
# writes gpu.json and gpu.md, within a budget of time. Needs torch of CUDA, nvcc, g++ and the packages that it names.
#   bench/gpu_check.sh [--rehearse] [RESULTS]     PYTHON=python3, RESULTS=gpu-results, STAGES=build,tests,sanitize,bench
#   bench/gpu_check.sh --help                     the other options, and what the exit status means
set -euo pipefail
command -v "${PYTHON:=python3}" > /dev/null || { echo "gpu_check: no $PYTHON. Set PYTHON." >&2; exit 1; }
exec "$PYTHON" "$(dirname "$0")/gpu_check.py" "$@"
