"""The tables of docs/scaling.md on pruning with many GPUs: python bench/scaling_prune.py. Nothing is measured.

Layers are assigned by the function that runs use, at the plan's costs; rates and link speeds are assumptions.
"""

from dataclasses import dataclass

from fmcompress.calibration import TILE_COLS
from fmcompress.calibration.accumulate import GPU_TILE_COLS
from fmcompress.config import PruneConfig, RunConfig
from fmcompress.plan import solve_flops
from fmcompress.ranks import assign

TOKENS = 128 * 2048
RANKS = (1, 2, 4, 8, 16)
RANK_TITLES = [f"{ranks} rank{'s' * (ranks > 1)}" for ranks in RANKS]
FORWARD, FLOAT32 = 400e12, 40e12  # operations a second of a GPU: bfloat16 products, also of Hessians; float32 to solve
LINKS = {"10 Gbit/s": 1.25e9, "200 Gbit/s": 25e9, "NVLink": 450e9}  # bytes a second, each way
HALF = PruneConfig(sparsity=0.5)
METHODS: dict[str, RunConfig] = {"SparseGPT": HALF, "ADMM": PruneConfig(sparsity=0.5, method="admm")}


@dataclass(frozen=True)
class Llama:
    """The sizes of a model and of its blocks."""

    name: str
    hidden: int
    intermediate: int
    kv: int
    blocks: int

    @property
    def groups(self) -> list[list[tuple[int, int]]]:
        """(rows, cols) of the layers of a block, by the tensor that they read."""
        h, i = self.hidden, self.intermediate
        return [[(h, h), (self.kv, h), (self.kv, h)], [(h, h)], [(i, h), (i, h)], [(h, i)]]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(rows, cols) of all layers of a block."""
        return [layer for group in self.groups for layer in group]

    @property
    def weights(self) -> int:
        """Of the layers of a block."""
        return sum(rows * cols for rows, cols in self.layers)


MODELS = (Llama("8 B", 4096, 14336, 1024, 32), Llama("70 B", 8192, 28672, 1024, 80))


def hessian_bytes(cols: int) -> int:
    """What is held."""
    return 4 * cols * cols


def hessian_flops(cols: int) -> int:
    """What is computed: the upper triangle, in rows of tiles."""
    return 2 * TOKENS * sum(min(GPU_TILE_COLS, cols - at) * (cols - at) for at in range(0, cols, GPU_TILE_COLS))


def calibration_s(model: Llama) -> float:
    """A block's two forward passes and its Hessians, on one rank."""
    gathered = sum(hessian_flops(group[0][1]) for group in model.groups)
    return (4 * model.weights * TOKENS + gathered) / FORWARD


def sent_bytes(cols: int) -> int:
    """What is summed: the upper triangle, in rows of tiles."""
    return 4 * sum(min(TILE_COLS, cols - begin) * (cols - begin) for begin in range(0, cols, TILE_COLS))


def longest(layers: list[tuple[int, int]], config: RunConfig, ranks: int) -> int:
    """Operations of the rank with most to solve."""
    costs = [solve_flops(*layer, config) for layer in layers]
    owners = assign(costs, ranks)
    return max(sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(ranks))


def seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def main() -> None:
    """Print the tables as Markdown."""
    print(
        "| model | weights of a block, bfloat16 | its Hessians | summed | widest Hessian |\n|---|---:|---:|---:|---:|"
    )
    for model in MODELS:
        cols = [group[0][1] for group in model.groups]
        sizes = [2 * model.weights, sum(map(hessian_bytes, cols)), sum(map(sent_bytes, cols)), hessian_bytes(max(cols))]
        print(f"| {model.name} | " + " | ".join(f"{size / 1e9:.2f} GB" for size in sizes) + " |")
    names = " | ".join(LINKS)
    print(f"\n| model | ranks | activations a rank | all-reduce | weights received | {names} | forward + Hessians |")
    print("|---|---:|---:|---:|---:|" + "---:|" * (len(LINKS) + 1))
    for model in MODELS:
        cols = [group[0][1] for group in model.groups]
        for ranks in RANKS:
            activations = 2 * 2 * TOKENS * model.hidden / ranks  # before and after a block
            reduced = 2 * (ranks - 1) / ranks * sum(map(sent_bytes, cols))
            weights = 2 * model.weights * (ranks - 1) / ranks
            work = calibration_s(model)
            times = " | ".join(seconds((reduced + weights) / speed) if ranks > 1 else "" for speed in LINKS.values())
            moved = f"{reduced / 1e9:.2f} GB | {weights / 1e9:.2f} GB" if ranks > 1 else " | "
            print(
                f"| {model.name} | {ranks} | {activations / 1e9:.2f} GB | {moved} | {times} | {seconds(work / ranks)} |"
            )
    print("\n| model | method | " + " | ".join(RANK_TITLES) + " | at most | true-sequential |")
    print("|---|---|" + "---:|" * (len(RANKS) + 2))
    for model in MODELS:
        for name, config in METHODS.items():
            total = longest(model.layers, config, 1)
            times = [longest(model.layers, config, ranks) / FLOAT32 for ranks in RANKS]
            limit = total / max(solve_flops(*layer, config) for layer in model.layers)
            in_groups = total / sum(longest(group, config, max(RANKS)) for group in model.groups)
            print(f"| {model.name} | {name} | {' | '.join(map(seconds, times))} | {limit:.2f} × | {in_groups:.2f} × |")
    print("\n| model | method | " + " | ".join(RANK_TITLES) + " |")
    print("|---|---|" + "---:|" * len(RANKS))
    for model in MODELS:
        for name, config in METHODS.items():
            whole = [model.blocks * block_seconds(model, config, ranks, LINKS["NVLink"]) for ranks in RANKS]
            cells = [f"{value / 60:.3g} min, {whole[0] / value:.2f} ×" for value in whole]
            print(f"| {model.name} | {name} | " + " | ".join(cells) + " |")


def block_seconds(model: Llama, config: RunConfig, ranks: int, link: float) -> float:
    """Forward twice, Hessians, their sum, the longest rank's solving, the weights to all; nothing overlaps."""
    cols = [group[0][1] for group in model.groups]
    moved = (2 * sum(map(sent_bytes, cols)) + 2 * model.weights) * (ranks - 1) / ranks
    return calibration_s(model) / ranks + moved / link + longest(model.layers, config, ranks) / FLOAT32


if __name__ == "__main__":
    main()
