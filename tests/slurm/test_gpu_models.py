"""Names of GPU models, as clusters write them and as drivers do."""

from __future__ import annotations

import pytest

from slurm.gpu_models import asked_for, fits
from slurm.settings import SlurmSettings

A100, A100_40 = "NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB"
PART = "NVIDIA A100-SXM4-40GB MIG 3g.20gb"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("a100", A100),
        ("a100", A100_40),
        ("A100_80GB", A100),
        ("nvidia_a100-sxm4-80gb", A100),
        (A100, A100),
        ("h100", "NVIDIA H100 80GB HBM3"),
        ("tesla_v100", "Tesla V100-SXM2-32GB"),
        ("rtx_2080_ti", "NVIDIA GeForce RTX 2080 Ti"),
        ("rtx2080ti", "NVIDIA GeForce RTX 2080 Ti"),
        ("2080ti", "NVIDIA GeForce RTX 2080 Ti"),
        ("a6000", "NVIDIA RTX A6000"),
        ("a100_3g.20gb", PART),
        ("3g.20gb", PART),
    ],
)
def test_a_name_fits(name: str, model: str) -> None:
    assert fits(name, model)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("a10", A100),
        ("a100_40gb", A100),
        ("h100", A100),
        ("l40", "NVIDIA L40S"),
        ("h100", "NVIDIA GH200 480GB"),
        ("2080", "NVIDIA GeForce RTX 2080Ti"),
        ("ampere", A100),
        ("a100", PART),
        ("a100_1g.5gb", PART),
        ("3g.20gb", A100),
        ("", A100),
        ("nvidia", A100),
    ],
)
def test_another_does_not(name: str, model: str) -> None:
    assert not fits(name, model)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (SlurmSettings(), ()),
        (SlurmSettings(partition="gpu", constraint="hbm80g&ib"), ()),
        (SlurmSettings(partition="gpu-h24", qos="a100"), ()),  # 24 hours; a quality of service has no GPUs
        (SlurmSettings(partition="gpu_A100"), ("a100",)),
        (SlurmSettings(partition="gpuA100x4"), ("a100",)),
        (SlurmSettings(constraint="a100|h100"), ("a100", "h100")),
        (SlurmSettings(constraint="rtx3090"), ("rtx3090",)),
        (SlurmSettings(sbatch={"gres": "gpu:1"}), ()),
        (SlurmSettings(sbatch={"gres": "gpu:a100:1"}), ("a100",)),
        (SlurmSettings(sbatch={"gres": "lustre:1,gpu:nvidia_h100_80gb_hbm3:2"}), ("nvidia_h100_80gb_hbm3",)),
        (SlurmSettings(sbatch={"gres": "gpu:ampere"}), ("ampere",)),
        (SlurmSettings(sbatch={"gpus": 2}), ()),
        (SlurmSettings(sbatch={"gpus_per_node": "v100:2"}), ("v100",)),
        (SlurmSettings(sbatch={"tres-per-task": "cpu:4,gres/gpu:a30=1"}), ("a30",)),
        (SlurmSettings(constraint="a100", sbatch={"gres": "gpu:a100:1"}), ("a100",)),
        (SlurmSettings(sbatch={"constraint": "L40S", "mail-user": "me@a100.org"}), ("l40s",)),
    ],
)
def test_what_jobs_ask_for(settings: SlurmSettings, names: tuple[str, ...]) -> None:
    assert asked_for(settings) == names
