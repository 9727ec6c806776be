#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA kernels, runs every test that needs one, and measures packed_linear.
# Needs Python with torch of CUDA, triton, pybind11 and what requirements.txt has; no network.
#   bench/gpu_check.sh [RESULTS]      PYTHON=python3 by default; RESULTS is a folder, gpu-results by default
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
RESULTS=$(realpath -m "${1:-gpu-results}")
mkdir -p "$RESULTS"
fail() { echo "gpu_check: $*" >&2; exit 1; }

command -v "$PYTHON" > /dev/null || fail "no $PYTHON. Set PYTHON."
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$RESULTS/gpu.txt"
fi
"$PYTHON" - << 'END' || fail "the environment lacks something (above)"
import importlib.util
import shutil
import sys

missing = [name for name in ("torch", "triton", "numpy", "safetensors", "typer", "rich", "pydantic", "yaml", "pybind11",
                             "setuptools", "pytest", "packaging", "transformers", "tokenizers", "hypothesis")
           if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"not installed: {', '.join(missing)}")
import torch
from torch.utils.cpp_extension import CUDA_HOME

if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} sees no GPU")
if CUDA_HOME is None:
    sys.exit("no CUDA toolkit: set CUDA_HOME to where bin/nvcc is")
if shutil.which("g++") is None:
    sys.exit("no g++")
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, toolkit {CUDA_HOME}, "
      f"{torch.cuda.get_device_name(0)}, sm_{''.join(map(str, torch.cuda.get_device_capability()))}")
END

TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$("$PYTHON" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')}
export TORCH_CUDA_ARCH_LIST
echo "== build for $TORCH_CUDA_ARCH_LIST"
FMCOMPRESS_BUILD=cuda MAX_JOBS=${MAX_JOBS:-$(nproc)} "$PYTHON" setup.py build_ext --inplace > "$RESULTS/build.log" 2>&1 ||
    { tail -40 "$RESULTS/build.log" >&2; fail "the build failed: $RESULTS/build.log"; }

# the Triton twins are imported under another name than their folder's; the source tree goes first, whatever is installed
FOUND=$(mktemp -d)
trap 'rm -r "$FOUND"' EXIT
ln -s "$PWD/triton_kernels" "$FOUND/fmcompress_triton"
export PYTHONPATH="$PWD:$FOUND${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" - << 'END' || fail "what was built does not load"
import fmcompress
import fmcompress_triton.register

explained = fmcompress.explain()
print(*(f"{name}: {reason}" for name, reason in explained.items()), sep="\n")
assert explained["cuda"] == "built in" and explained["triton"] == "loaded", explained
END

status=0
echo "== tests on the GPU"
FMCOMPRESS_EXPECT_BACKENDS=reference,native,triton,cuda "$PYTHON" -m pytest -m cuda -ra --durations=10 \
    --junitxml="$RESULTS/tests.xml" 2>&1 | tee "$RESULTS/tests.log" || status=1
grep -Eq '[1-9][0-9]* passed' "$RESULTS/tests.log" || fail "no test passed: $RESULTS/tests.log"

echo "== bench"
for backend in native triton; do
    for dtype in bfloat16 float16; do
        [[ $backend-$dtype == triton-float16 ]] && continue
        "$PYTHON" bench/gpu_linear.py --backend "$backend" --dtype "$dtype" --json "$RESULTS/$backend-$dtype.json" 2>&1 |
            tee "$RESULTS/$backend-$dtype.txt" || status=1
    done
done
[[ $status == 0 ]] || fail "something failed (above); what there is lies in $RESULTS"
echo "gpu_check: all passed; results in $RESULTS"
