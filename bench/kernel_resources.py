"""What the compiler says of the CUDA kernels, on any machine with nvcc: registers, spills, and what their loops issue.

python bench/kernel_resources.py [--files sweep factor] [--kernels REGEX] [--arch 90] [--json FILE]

No GPU is needed and nothing is timed. Warps a multiprocessor are those that its 65,536 registers hold; a loop is what
lies between a backward branch and its target, of nested ones the innermost. Needs cuobjdump, of the CUDA toolkit or of
the triton package.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch.utils.cpp_extension import include_paths

ROOT = Path(__file__).parents[1]
REGISTERS, MOST_WARPS, REGISTERS_AT_ONCE = 65536, 64, 256
USAGE = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)")
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
KINDS = {"LDG": "global loads", "STG": "stores", "LDS": "shared loads", "HMMA": "tensor cores", "BAR": "barriers"}


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel: bytes a thread has on the stack, instructions in all and in each innermost loop."""

    file: str
    name: str
    registers: int
    stack_bytes: int
    shared_bytes: int
    instructions: int
    loops: list[int]
    kinds: dict[str, int]

    @property
    def warps(self) -> int:
        """Of a multiprocessor, as far as registers decide."""
        each = -(-32 * self.registers // REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
        return min(MOST_WARPS, REGISTERS // max(1, each))


def cuobjdump() -> str:
    """Where it is."""
    found = shutil.which("cuobjdump")
    if found is None:
        try:
            import triton
        except ImportError:
            sys.exit("no cuobjdump: install the CUDA toolkit's, or triton, which has one")
        found = str(Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump")
    return found


def compiled(source: Path, arch: str, folder: Path) -> Path:
    """A cubin of one file."""
    target = folder / f"{source.stem}.cubin"
    command = ["nvcc", "-O3", "-std=c++20", "-DTORCH_TARGET_VERSION=0x020b000000000000", f"-arch=sm_{arch}", "-cubin"]
    command += [f"-I{path}" for path in [*include_paths(), ROOT / "csrc"]]
    run = subprocess.run([*command, "-o", target, source], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{source.name}: nvcc failed\n{run.stderr}")
    return target


def kernels_of(cubin: Path, dump: str) -> list[Kernel]:
    """All kernels of a cubin."""

    def said(*options: str) -> str:
        return subprocess.run([dump, *options, cubin], check=True, capture_output=True, text=True).stdout

    listings = dict(re.findall(r"Function : (\S+)\n(.*?)(?=\n\s*Function : |\Z)", said("--dump-sass"), re.DOTALL))
    found = []
    for name, registers, stack, shared in USAGE.findall(said("--dump-resource-usage")):
        listing = INSTRUCTION.findall(listings.get(name, ""))
        kinds = Counter(KINDS[op.split(".")[0]] for _, op, _ in listing if op.split(".")[0] in KINDS)
        numbers = int(registers), int(stack), int(shared), len(listing), loops(listing)
        found.append(Kernel(cubin.stem, readable(name), *numbers, dict(kinds)))
    return found


def loops(listing: list[tuple[str, str, str]]) -> list[int]:
    """Instructions of each innermost loop, the longest first."""
    places = {int(place, 16): number for number, (place, _, _) in enumerate(listing)}
    spans = []
    for number, (_, op, rest) in enumerate(listing):
        target = re.search(r"0x([0-9a-f]+)", rest)
        if op.startswith("BRA") and target and places.get(int(target[1], 16), number) < number:
            spans.append((places[int(target[1], 16)], number))
    inner = [(a, b) for a, b in spans if not any((c, d) != (a, b) and a <= c and d <= b for c, d in spans)]
    return sorted({b - a + 1 for a, b in inner}, reverse=True)


def readable(name: str) -> str:
    """A mangled name without what all have."""
    plain = subprocess.run(["c++filt", "-p", name], capture_output=True, text=True).stdout.strip() or name
    return plain.removeprefix("void ").replace("gpu::", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", help="only those of csrc/cuda, without .cu")
    parser.add_argument("--kernels", default="", help="only those whose names match a regular expression")
    parser.add_argument("--arch", default="90")
    parser.add_argument("--json", type=Path, help="write all of it to this file as well")
    options = parser.parse_args()
    sources = sorted((ROOT / "csrc/cuda").glob("*.cu"))
    known = [path.stem for path in sources]
    unknown = [name for name in options.files or [] if name not in known]
    if unknown:
        parser.error(f"files: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    if shutil.which("nvcc") is None:
        sys.exit("no nvcc: install the CUDA toolkit")
    dump, found = cuobjdump(), []
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            if not options.files or source.stem in options.files:
                print(f"compiling {source.name}", file=sys.stderr)
                every = kernels_of(compiled(source, options.arch, Path(folder)), dump)
                found += [kernel for kernel in every if re.search(options.kernels, kernel.name)]
    table = Table("file", "kernel", "registers", "stack", "warps", "instructions", "innermost loops", "of them")
    for k in found:
        kinds = ", ".join(f"{count} {kind}" for kind, count in k.kinds.items())
        shown = ", ".join(map(str, k.loops[:6])) + (" ..." if len(k.loops) > 6 else "")
        table.add_row(
            k.file, k.name, str(k.registers), str(k.stack_bytes), str(k.warps), str(k.instructions), shown, kinds
        )
    Console(width=200).print(table)
    if options.json:
        options.json.write_text(json.dumps([{**asdict(k), "warps": k.warps} for k in found], indent=1))


if __name__ == "__main__":
    main()
