"""Building the CUDA kernels for the CPU, with the race checker (racecheck.cpp) or without, and what they say went wrong."""

import ctypes
import re
import subprocess
from pathlib import Path

MOVES = ("memcpy", "memmove", "memset")  # the sanitizer expects these to be calls, which the checker then sees
WATCHED = ["-fsanitize=thread", "-DRACECHECK", "-g1", "-O1", *(f"-fno-builtin-{name}" for name in MOVES)]
WRAPPED = ["-Wl,-Bsymbolic", *(f"-Wl,--wrap={name}" for name in MOVES)]


def build(root: Path, folder: Path, source: Path, *flags: str, watched: bool = False) -> ctypes.CDLL:
    """The kernels of `source` as a library; headers that lie in `folder` win over those of the checkout."""
    library = folder / f"{source.stem}{'-watched' if watched else ''}.so"
    common = [
        "-std=c++20",
        "-U_FORTIFY_SOURCE",
        "-fPIC",
        "-fno-gnu-unique",
        "-Wall",
        "-Werror",
        "-Wno-unknown-pragmas",
        f"-I{folder}",
    ]
    common += [f"-I{root / part}" for part in ("csrc/cuda", "csrc", "tests")]
    if watched:
        kernels, checker = library.with_suffix(".o"), folder / "racecheck.o"
        run("g++", *common, *flags, *WATCHED, "-c", source, "-o", kernels)
        if not checker.exists():
            run("g++", *common, "-O2", "-DRACECHECK", "-c", root / "tests/racecheck.cpp", "-o", checker)
        run("g++", "-shared", kernels, checker, *WRAPPED, "-o", library)
    else:
        run("g++", *common, *flags, "-shared", source, "-o", library)
    built = ctypes.CDLL(str(library))
    built.failure.restype = ctypes.c_char_p
    return built


def run(*command: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def raise_failure(library: ctypes.CDLL) -> None:
    """AssertionError if the kernels did what none may, with the lines of code in place of addresses."""
    failure = library.failure()
    assert failure is None, re.sub(
        r"(code|kernel)\+0x([0-9a-f]+)", lambda at: _name(library, *at.groups()), failure.decode()
    )


def _name(library: ctypes.CDLL, what: str, address: str) -> str:
    back = 1 if what == "code" else 0  # a return address is that of the instruction behind the call
    function, line = run("addr2line", "-C", "-f", "-e", library._name, hex(int(address, 16) - back)).splitlines()[:2]
    return line.rsplit("/", 1)[-1].split(" ")[0] if what == "code" else function
