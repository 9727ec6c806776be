"""The package is light, and what it names is there."""

import subprocess
import sys

import fmcompress.ratatouille


def test_importing_it_does_not_need_torch():
    code = "import sys, fmcompress.ratatouille; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_names_are_there():
    for name in fmcompress.ratatouille.__all__:
        assert getattr(fmcompress.ratatouille, name).__name__ == name if name != "METHODS" else True
