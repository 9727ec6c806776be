"""How fast patches are made, applied and compared, as shares of a file copy in the same run.

    python bench/patches.py [--folder DIR] [--matrices 16]

writes a base and two tuned checkpoints of bfloat16 and one of float32 (16.8 MB a matrix) and removes them again. Times
are the best of three; a rate is the tuned checkpoint's bytes over the time. CPU time is of all threads.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.patches import PatchOptions, apply_patch, compare_checkpoints, make_patch

ROUNDS = 3


def checkpoint(folder: Path, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_all(home: Path, matrices: int) -> list[tuple[str, Path, Path]]:
    """(what changed, base, tuned)."""
    generator = torch.Generator().manual_seed(0)
    models: list[dict[str, Tensor]] = [{} for _ in range(5)]
    for number in range(matrices):
        weight = 0.02 * torch.randn(2048, 4096, generator=generator)
        change = 3e-5 * torch.randn(2048, 4096, generator=generator)
        few = torch.rand(2048, 4096, generator=generator) < 0.05
        half, name = weight.bfloat16(), f"layers.{number}.weight"
        tuned = (half.float() + change).bfloat16()
        models[0][name], models[1][name] = half, torch.where(few, (half.float() + 30 * change).bfloat16(), half)
        models[2][name] = tuned
        if number % 2:
            models[3][name], models[4][name] = weight, weight + change
    folders = [checkpoint(home / str(number), tensors) for number, tensors in enumerate(models)]
    return [
        ("5 % of bfloat16", folders[0], folders[1]),
        ("small steps of bfloat16", folders[0], folders[2]),
        ("all of float32", folders[3], folders[4]),
    ]


def best(work: Callable[[], object], clean: Callable[[], object] = lambda: None) -> tuple[float, float]:
    """Wall and CPU seconds of the fastest of some rounds."""
    times = []
    for _ in range(ROUNDS):
        clean()
        begun, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - begun, time.process_time() - cpu))
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--matrices", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)  # two tensors are in work at a time
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        home = Path(scratch)
        cases = write_all(home, options.matrices)
        weights = cases[0][2] / "model.safetensors"
        megabytes = weights.stat().st_size / 1e6
        copy, _ = best(lambda: shutil.copyfile(weights, home / "copy"))
        print(f"{megabytes:.0f} MB; copy {megabytes / copy:.0f} MB/s")
        patch, out = home / "patch", home / "out"
        for what, base, tuned in cases:
            for label, lossy in (("lossless", PatchOptions()), ("4 bits", PatchOptions(bits=4))):
                steps: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
                    "make": (
                        lambda base=base, tuned=tuned, lossy=lossy: make_patch(base, tuned, patch, lossy),
                        lambda: shutil.rmtree(patch, ignore_errors=True),
                    ),
                    "apply": (
                        lambda base=base: apply_patch(base, patch, out),
                        lambda: shutil.rmtree(out, ignore_errors=True),
                    ),
                }
                told = []
                for name, (work, clean) in steps.items():
                    wall, cpu = best(work, clean)
                    told.append(
                        f"{name} {megabytes / wall:.0f} MB/s ({copy / wall:.2f} of copy, {cpu / wall:.1f} cores)"
                    )
                size = (patch / "patch.safetensors").stat().st_size / 1e6
                print(f"{what}, {label}: {100 * size / megabytes:.1f} % · {' · '.join(told)}", flush=True)
        for what, base, tuned in cases[:2]:
            wall, _ = best(lambda base=base, tuned=tuned: compare_checkpoints(Checkpoint(base), Checkpoint(tuned)))
            print(f"diff, {what}: {megabytes / wall:.0f} MB/s ({copy / wall:.2f} of copy)", flush=True)


if __name__ == "__main__":
    main()
