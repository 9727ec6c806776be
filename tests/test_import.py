"""What importing the package must not do, each in a process of its own."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HEAVY = ("transformers", "accelerate", "lightning", "triton", "sklearn", "scipy", "matplotlib")
REPORT = f"""
import sys
found = [name for name in {HEAVY!r} if name in sys.modules]
torch = sys.modules.get("torch")
assert not found, found
assert torch is None or not torch.cuda.is_initialized()
"""


@pytest.mark.parametrize(
    "code",
    [
        "import fmcompress",
        "import fmcompress; fmcompress.sparsegpt; fmcompress.magnitude; fmcompress.NM; fmcompress.Unstructured",
        "import torch, fmcompress.ops; fmcompress.ops.select_smallest(torch.ones(2, 4), 2)",
        "import fmcompress.cli",
        "import fmcompress.gradients",
        "from fmcompress.language_model import FileLanguageModel, EndpointLanguageModel, Recorded, language_model",
        "import fmcompress.clip; fmcompress.clip.EmbeddingCache",
    ],
)
def test_import_is_silent_and_light(code):
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_hook_of_accelerate_needs_no_lightning():
    if not find_spec("accelerate"):
        pytest.skip("accelerate is not installed")
    code = "import sys, fmcompress.gradients.trainers; assert 'fmcompress.gradients.lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", code + "; assert 'lightning' not in sys.modules"], check=True)


def test_bare_import_needs_no_torch():
    code = "import sys, fmcompress; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_methods_on_embeddings_need_no_torch():
    code = "import sys, fmcompress.clip; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves():
    import fmcompress

    for name in fmcompress.__all__:
        assert getattr(fmcompress, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fmcompress.nonsense  # noqa: B018


def test_every_public_name_is_listed():
    code = "import sys, fmcompress; assert {*fmcompress.__all__, '__version__'} <= {*dir(fmcompress)}"
    subprocess.run([sys.executable, "-c", code + "; assert 'torch' not in sys.modules"], check=True)


def test_golden_truths_import_no_torch():
    for path in (Path(__file__).parent / "golden").glob("*.py"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names += [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        assert not [name for name in names if name.split(".")[0] in ("torch", "fmcompress")], path
