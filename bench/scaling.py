"""The tables of docs/scaling.md: python bench/scaling.py. Arithmetic over gradients.traffic, no measurement."""

from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.traffic import traffic

MODELS = {"1.3 B": 1.3e9, "6 B": 6e9, "13 B": 13e9, "20 B": 20e9}
WORKERS = (4, 16, 64)
SPEEDS = {"100 Mbit/s": 1e8, "500 Mbit/s": 5e8, "1 Gbit/s": 1e9, "10 Gbit/s": 1e10}


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def main() -> None:
    """Print both tables as Markdown."""
    config = CocktailConfig()
    print("| model | workers | fp16 a step | compressed | " + " | ".join(SPEEDS) + " |")
    print("|---|---:|---:|---:|" + "---:|" * len(SPEEDS))
    for name, parameters in MODELS.items():
        for workers in WORKERS:
            facts = traffic([int(parameters)], config, workers)
            times = [" / ".join(map(_time, facts.seconds(speed))) for speed in SPEEDS.values()]
            sizes = f"{facts.dense_bytes / 1e9:.2f} GB | {facts.compressed_bytes / 1e6:.1f} MB"
            print(f"| {name} | {workers} | {sizes} | " + " | ".join(times) + " |")
    print("\n| p | k | bits | bits a parameter | × fp16 |\n|---:|---:|---:|---:|---:|")
    for p, k, bits in (
        (0.1, 0.2, 4),
        (0.1, 0.08, 4),
        (0.1, 0.2, 2),
        (0.05, 0.2, 4),
        (0.4, 0.5, 4),
        (1.0, 0.2, 4),
        (1.0, 1.0, 8),
    ):
        config = CocktailConfig(p, k, bits)
        print(f"| {p:g} | {k:g} | {bits} | {config.bits_per_parameter:.4f} | {config.ratio():.1f} |")


if __name__ == "__main__":
    main()
