"""The stage of gpu_check.sh that runs small cases under compute-sanitizer, where there is neither that nor a GPU."""

import re

import pytest
import triton_cases
from gpu_check_runs import Ended, Plan, gpu_check, gpu_sanitize, plan_of


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ("ok\n========= ERROR SUMMARY: 0 errors", 0, "passed"),
        ("ok\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, "passed"),
        ("========= Invalid __global__ write of size 4 bytes\n========= ERROR SUMMARY: 1 error", 86, "failed"),
        ("AssertionError: wrong", 1, "failed"),
        ("========= Invalid __global__ write\n========= ERROR SUMMARY: 1 error\nAssertionError: x", 1, "failed"),
        ("x\n========= RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)", 0, "failed"),
        ("ok", 0, "not run"),  # nothing that the tool says of itself
        ("========= COMPUTE-SANITIZER", None, "not run"),
    ],
)
def test_what_a_sanitizer_says(output, status, expected):
    check = gpu_sanitize.judged("memcheck, native", Ended(status, 1.0, output))
    assert check.status == expected
    assert expected != "failed" or re.search("wr|2 hazards", check.note)


READ = "========= Uninitialized __global__ memory read of size 4 bytes\n=========     at {}+0x70\n"


@pytest.mark.parametrize(
    ("kernels", "more", "expected"),
    [
        (["void at::native::reduce_kernel<512>(float)", "void cub::DeviceScan(int)"], 0, "passed"),
        (["void at::native::reduce_kernel<512>(float)", "(anonymous namespace)::move_kernel(int)"], 0, "failed"),
        (["void at::native::reduce_kernel<512>(float)"], 1, "failed"),  # what was not printed may be ours
    ],
)
def test_reads_inside_of_torch_are_no_fault_of_ours(kernels, more, expected):
    count = len(kernels) + more
    summary = f"========= ERROR SUMMARY: {count} error{'s' * (count > 1)}"
    ended = Ended(86, 1.0, "".join(map(READ.format, kernels)) + summary)
    assert gpu_sanitize.judged("initcheck, native", ended).status == expected


def test_filters_take_mangled_names_and_leave_our_kernels_in():
    """A filter that matched one of ours would prove nothing of it, without a word."""
    import gpu_small

    for name in gpu_small.native_kernels() | gpu_small.triton_kernels():
        assert not re.search(gpu_sanitize.FOREIGN, name)
        assert not re.search(gpu_sanitize.FOREIGN, f"_ZN10fmcompress44_GLOBAL__N__{len(name)}{name}IfLi4EEEvPT_")
    torchs = "_ZN2at6native29vectorized_elementwise_kernelILi4EE", "_ZN3cub17CUB_300_SM_9016DeviceScanKernelE"
    for name in (
        *torchs,
        "_ZN7cutlass6Kernel2E",
        "sm90_xmma_gemm_f32f32",
        "nvjet_hsh_128x256",
        "ampere_sgemm_128x64_tn",
    ):
        assert re.search(gpu_sanitize.FOREIGN, name)
    assert not {"--kernel-name-exclude"} & set(gpu_sanitize.MORE["initcheck"])  # it must see what those write


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo '========= Invalid __global__ write of size 4 bytes'; exit 86", ""),
        ("echo '========= Invalid __global__ write of size 4 bytes'; exit 1", ""),  # the program may fail by the fault
        ("echo '========= Error: Device not supported'; exit 86", "it did not find a planted fault: Error: Device not"),
        ("echo '========= Program hit an API error'; exit 86", "it did not find a planted fault: Program hit"),
        ("exit 0", "it did not find a planted fault: no output"),
        ('[[ "$*" == *exclude* ]] && { echo unknown; exit 1; } || echo "========= Invalid __global__ write"', ""),
    ],
)
def test_a_tool_must_find_its_planted_fault(tmp_path, script, why):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    plan = plan_of(tmp_path)
    command, actual = gpu_sanitize.proven(plan, str(program), "memcheck", ["planted", "memcheck"])
    assert actual.startswith(why)
    assert bool(command) == (not why)
    assert ("--kernel-name-exclude" in command) == (not why and "exclude" not in script)


def test_without_a_sanitizer_nothing_is_green(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_sanitize, "sanitizer", lambda toolkit: None)
    monkeypatch.setattr(Plan, "run", lambda *given, **more: Ended(0, 0.1, "all kernels were launched"))
    plan = plan_of(tmp_path, rehearsal=False)
    checks = {check.name: check.status for check in gpu_sanitize.sanitize(plan)}
    assert all(checks[tool] == "not run" for tool in gpu_sanitize.TOOLS)


def test_triton_compiles_beside_nvcc_where_both_are_wanted(tmp_path, monkeypatch):
    told = []

    def run(plan, command, *given, **more):
        told.append(" ".join(map(str, command[1:])))
        return Ended(0, 0.1, "all kernels were launched")

    monkeypatch.setattr(Plan, "run", run)
    monkeypatch.setattr(gpu_sanitize, "sanitizer", lambda toolkit: None)
    monkeypatch.setattr(gpu_check, "machine", lambda plan: [])
    for chosen, begun in ((["build"], False), (["build", "sanitize"], True), (["sanitize"], False)):
        told.clear()
        plan = plan_of(tmp_path, rehearsal=False)
        record = gpu_check.Record(plan, chosen)
        gpu_check.run(record)
        assert bool(plan.begun) == begun
        assert told.count("triton --kernels") == ("sanitize" in chosen)  # once
        said = [check.name for check in record.checks]
        assert ("kernels that the small cases launch, triton" in said) == ("sanitize" in chosen)


def test_no_kernel_is_overlooked_by_the_small_cases():
    code = "import gpu_small; assert len(gpu_small.native_kernels()) > 20; assert len(gpu_small.triton_kernels()) > 20"
    triton_cases.in_a_process(code)
