"""What bench/kernel_resources.py reads in a listing of instructions."""

import importlib.util
import sys
from pathlib import Path

import pytest

LISTING = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.128.CONSTANT R4, [R2.64] ;
        /*0020*/              @!P0 LDS.128 R8, [R6] ;
        /*0030*/                   FFMA R0, R4, R8, R0 ;
        /*0040*/               @P1 BRA 0x20 ;
        /*0050*/                   ISETP.NE.AND P2, PT, R5, RZ, PT ;
        /*0060*/               @P2 BRA 0x10 ;
        /*0070*/                   EXIT ;
"""


@pytest.fixture(scope="module")
def resources():
    path = Path(__file__).parents[1] / "bench/kernel_resources.py"
    spec = importlib.util.spec_from_file_location("kernel_resources", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_only_innermost_loops_count(resources):
    listing = resources.INSTRUCTION.findall(LISTING)
    assert [op for _, op, _ in listing][:3] == ["MOV", "LDG.E.128.CONSTANT", "LDS.128"]
    assert resources.loops(listing) == [3]


@pytest.mark.parametrize(("registers", "warps"), [(32, 64), (33, 51), (64, 32), (128, 16), (255, 8)])
def test_warps_by_registers(resources, registers, warps):
    assert resources.Kernel("", "", registers, 0, 0, 0, [], {}).warps == warps
