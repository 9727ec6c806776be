"""Fine-tuning with every exchange of examples/finetune_ddp.py in turn: losses, bytes really sent, and a plot.

python bench/finetune.py CHECKPOINT --text TEXT [--out FOLDER] [--workers 2] [--only "fp16;cocktail"]
    [--network 500mbit] [--lr 1e-3,2e-3] [options of the example, such as --steps 600]

--lr       every exchange is trained with each of these learning rates, and the best is reported: what workers that
           train apart need is not what one optimizer needs that sees the mean gradient

--network  puts every worker into a network namespace of its own, joined by links with a token bucket of that rate each
           way (needs root, ip and tc); without it they talk over the loopback interface.
--out      what results.json there holds already of the same options is not trained again

The seed, the batches and the steps are the same for all. Bytes are what the kernel counts on a worker's interface,
protocol and barriers included, those of anything else on that interface too: the mean of the steps after the dense
ones; of seconds the median.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "finetune_ddp.py"
AT_117 = ["--topk-fraction", "0.08"]  # 120 times fewer bits than fp16
EXACT = ["--random-fraction", "1", "--topk-fraction", "1", "--bits", "32"]
RUNS = {  # name: (exchange, options)
    "fp16": ("fp16", []),
    "cocktail": ("cocktail", []),
    "cocktail k=0.08": ("cocktail", AT_117),
    "cocktail, no error feedback": ("cocktail-no-feedback", []),
    "CocktailSGD": ("cocktail-sgd", []),
    "CocktailSGD, delay 1": ("cocktail-sgd-delayed", []),
    "CocktailSGD k=0.08": ("cocktail-sgd", AT_117),
    "CocktailSGD, nothing compressed": ("cocktail-sgd", EXACT),  # what local steps cost by themselves
    "PowerSGD rank 1": ("powersgd", []),
    "top-k": ("topk", []),
    "none": ("none", []),
}


class Bridge:
    """Network namespaces around a bridge, one for each worker; gone when the run is over."""

    def __init__(self, workers: int, rate: str) -> None:
        self.names = [f"fmc{i}" for i in range(workers)]
        self.close()  # what a killed run has left
        self._run("ip link add fmcbr type bridge", "ip link set fmcbr up")
        for i, name in enumerate(self.names):
            self._run(
                f"ip netns add {name}",
                f"ip link add {name}h type veth peer name eth0 netns {name}",
                f"ip link set {name}h master fmcbr up",
                f"ip -n {name} addr add 10.77.0.{i + 1}/24 dev eth0",
                f"ip -n {name} link set eth0 up",
                f"ip -n {name} link set lo up",
                f"tc qdisc add dev {name}h root tbf rate {rate} burst 128kb latency 100ms",
                f"ip netns exec {name} tc qdisc add dev eth0 root tbf rate {rate} burst 128kb latency 100ms",
            )

    def close(self) -> None:
        """Take everything down again."""
        for name in self.names:  # the link first: with its namespace it would go only later
            for what in (["link", "del", f"{name}h"], ["netns", "del", name]):
                subprocess.run(["ip", *what], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", "fmcbr"], check=False, stderr=subprocess.DEVNULL)

    def _run(self, *commands: str) -> None:
        for command in commands:
            subprocess.run(command.split(), check=True)


def best_of(args: argparse.Namespace, exchange: str, more: list[str]) -> dict:
    """The training whose learning rate gives the lowest held-out loss."""
    found = {rate: train(args, exchange, [*more, "--lr", rate]) for rate in args.lr.split(",")}
    rate = min(found, key=lambda rate: (math.isnan(found[rate]["after"]), found[rate]["after"]))
    return {**found[rate], "lr": rate, "after_by_lr": {rate: result["after"] for rate, result in found.items()}}


def train(args: argparse.Namespace, exchange: str, more: list[str]) -> dict:
    """One training, and the line that it prints."""
    command = [str(EXAMPLE), str(args.checkpoint), "--text", str(args.text), "--exchange", exchange]
    command += [*args.options, *more]
    if args.network is None:
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(args.workers), *command]
        done = subprocess.run(launch, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    bridge, processes = Bridge(args.workers, args.network), []
    try:
        for i, name in enumerate(bridge.names):
            place = {"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(args.workers)}
            address = {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29700", "GLOO_SOCKET_IFNAME": "eth0"}
            launch = ["ip", "netns", "exec", name, sys.executable, *command, "--interface", "eth0"]
            environment = {**os.environ, **place, **address}
            processes.append(subprocess.Popen(launch, stdout=subprocess.PIPE, text=True, env=environment))
        outputs = [process.communicate()[0] for process in processes]
        return json.loads(outputs[0].splitlines()[-1])
    finally:
        for process in processes:
            process.kill()
        bridge.close()


def table(results: dict[str, dict]) -> str:
    """As Markdown; ratios are to fp16."""
    base = results.get("fp16")
    lines = [
        "| exchange | learning rate | held-out loss | to fp16 | bytes a step | × fewer | seconds a step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        worse = f"{100 * (result['after'] / base['after'] - 1):+.2f} %" if base else ""
        fewer = f"{base['bytes_a_step'] / result['bytes_a_step']:.1f}" if base and name != "none" else ""
        lines.append(
            f"| {name} | {result['lr']} | {result['after']:.4f} | {worse} | {result['bytes_a_step']:,.0f} | {fewer} "
            f"| {result['seconds_a_step']:.3f} |"
        )
    return "\n".join(lines)


def plot(results: dict[str, dict], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, result in results.items():
        losses, window = result["losses"], 15
        means = [
            sum(losses[max(0, i - window) : i + 1]) / len(losses[max(0, i - window) : i + 1])
            for i in range(len(losses))
        ]
        axes.plot(means, label=f"{name} ({result['after']:.3f})", linewidth=1)
    axes.set(xlabel="step", ylabel="training loss, mean of 15 steps", yscale="log")
    axes.legend(title="exchange (held-out loss)")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("finetune-output"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--network", help="such as 500mbit")
    parser.add_argument("--lr", default="3e-4", help="separated by commas")
    parser.add_argument("--only", help="names of runs, separated by semicolons")
    args, args.options = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.only.split(";") if args.only else list(RUNS)
    held = args.out / "results.json"
    results: dict[str, dict] = json.loads(held.read_text()) if held.exists() else {}
    for name in names:
        if results.get(name, {}).get("options") == [args.lr, args.network, *args.options]:
            continue
        results[name] = {**best_of(args, *RUNS[name]), "options": [args.lr, args.network, *args.options]}
        part = held.with_suffix(".partial")
        part.write_text(json.dumps(results))
        part.replace(held)
        print(f"{name}: held-out loss {results[name]['after_by_lr']}", file=sys.stderr, flush=True)
    print(table(results))
    plot(results, args.out / "losses.png")


if __name__ == "__main__":
    main()
