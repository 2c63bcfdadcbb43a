"""CUDA code of a step that is generated and compiled on a machine without a GPU, in a process of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from benchmarks.on_gpu.generated import Launches, kernels, launches
from experiments.core.paths import ROOT

HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="CUDA code needs the extra: pip install '.[triton]'")
CODE = """
triton_poi_fused_0 = async_compile.triton('triton_poi_fused_0', '''
first
''', device_str='cuda')
triton_red_fused_1 = async_compile.triton('triton_red_fused_1', '''
second
''', device_str='cuda')
def call(self, args):
        triton_poi_fused_0.run(arg0_1, buf28, 32, stream=raw_stream0)
        triton_red_fused_1.run(arg0_1, buf28, 32, stream=raw_stream0)
        # triton_poi_fused_0.run(in a comment)
        extern_kernels.bmm(buf1, buf2, out=buf3)
        buf4 = torch.ops.aten.sort.stable(buf3)
        buf5.copy_(buf4)
        triton_poi_fused_0.run(arg0_1, buf29, 32, stream=raw_stream0)
"""


def generated(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.on_gpu.generated", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_launches_are_counted() -> None:
    counted = launches(CODE)
    assert counted == Launches(triton=3, kernels=2, products=1, copies=1, others={"aten.sort": 1})
    assert {name: source.strip() for name, source in kernels(CODE).items()} == {
        "triton_poi_fused_0": "first",
        "triton_red_fused_1": "second",
    }


@pytest.mark.skipif(HAS_TRITON, reason="Triton is installed")
def test_without_triton_it_is_said_what_is_missing() -> None:
    ended = generated()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("Triton is not installed; pip install '.[triton]'\n")


@needs_triton
@pytest.mark.slow  # half a minute
def test_a_step_is_compiled_for_two_gpus_without_one() -> None:
    ended = generated("--networks", "mpnn", "--channels", "2", "--layers", "1", "--pack", "2")
    assert ended.returncode == 0, ended.stderr
    gradient, update = ended.stdout.splitlines()
    assert (gradient.split(":")[0], update.split(":")[0]) == ("gradient, mpnn, pack of 2", "update, mpnn, pack of 2")
    for line in (gradient, update):
        found = re.search(r": (\d+) launches of (\d+) Triton kernels, (\d+) products, 0 copies, 0 atomic", line)
        assert found is not None, line
        assert int(found[1]) >= int(found[2]) > 0
        assert int(found[3]) > 0
        assert re.search(r": [1-9]\d* kB for sm_80, [1-9]\d* kB for sm_90$", line)
