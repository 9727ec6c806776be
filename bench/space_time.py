"""Divided beside joint space-time attention: time and peak memory over frames. python bench/space_time.py [--plot P].

A step is forward and backward of OmniVL's visual encoder on random videos, every tube one frame. Divided attention
makes, for T frames of N patches, T x N² and N x T² comparisons, joint attention (T x N)². Each measurement runs in a
process of its own; memory is the peak of its first step above what it held before, or torch's on a GPU.
Times are medians in turns; ratios are of one run.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from clip_zero_shot import peak_bytes, reset_peak

KINDS = ("divided", "joint")


def measure(kind: str, frames: int, given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step and bytes at its peak."""
    import torch

    from fmcompress.models.omnivl import OmniVLVisionConfig, OmniVLVisualEncoder

    torch.manual_seed(0)
    config = OmniVLVisionConfig(
        hidden_size=given.width, num_hidden_layers=given.layers, num_attention_heads=given.width // 64,
        intermediate_size=4 * given.width, image_size=given.image_size, patch_size=16, num_frames=frames,
        space_time_attention=kind,
    )  # fmt: skip
    config._attn_implementation = given.attention
    encoder = OmniVLVisualEncoder(config).to(given.device)
    videos = torch.randn(given.batch, frames, 3, given.image_size, given.image_size, device=given.device)
    on_gpu = given.device.startswith("cuda")

    def step() -> None:
        encoder(videos).last_hidden_state.sum().backward()
        encoder.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()

    if on_gpu:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_peak()
        before = peak_bytes()
    step()
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_bytes()
    times = []
    for _ in range(given.rounds):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return {"step_s": median(times), "peak_bytes": peak - before}


def alone(kind: str, frames: int) -> dict[str, Any]:
    """measure() in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", kind, str(frames)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    from fmcompress.drawing import heading, new_figure, save

    figure = new_figure(path, 9, 3.8)
    heading(figure, "Attention over space and time")
    for place, (key, label, scale) in enumerate((("step_s", "seconds a step", 1), ("peak_bytes", "peak MB", 1e6))):
        axes = figure.add_axes((0.08 + 0.5 * place, 0.16, 0.4, 0.62))
        for kind, colour in zip(KINDS, ("#2B6CB0", "#C05621"), strict=True):
            axes.plot([r["frames"] for r in rows], [r[kind][key] / scale for r in rows], "o-", color=colour, label=kind)
        axes.set_xlabel("frames")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--width", type=int, default=384, help="of ViT-S by default")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), given)))
        return
    rows = []
    print("| frames | divided s | joint s | joint / divided | divided MB | joint MB | joint / divided |")
    print("|---|---|---|---|---|---|---|")
    for frames in given.frames:
        row: dict[str, Any] = {"frames": frames, **{kind: alone(kind, frames) for kind in KINDS}}
        rows.append(row)
        divided, joint = (row[kind] for kind in KINDS)
        cells = [str(frames)]
        for key, scale, digits in (("step_s", 1, 3), ("peak_bytes", 1e6, 0)):
            cells += [f"{one[key] / scale:.{digits}f}" for one in (divided, joint)]
            cells.append(f"{joint[key] / divided[key]:.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    if given.plot:
        draw(rows, given.plot)


if __name__ == "__main__":
    main()
