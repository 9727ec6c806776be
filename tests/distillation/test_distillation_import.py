"""The package is light, and what it names is there."""

import subprocess
import sys

import fmcompress.distillation


def test_importing_it_needs_neither_torch_nor_transformers():
    code = "import sys, fmcompress.distillation; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_names_are_there():
    for name in fmcompress.distillation.__all__:
        assert getattr(fmcompress.distillation, name).__name__ == name
