"""The pictures of the documentation: their statements hold, and all of them are drawn."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
ROUND_OFF = 1e-6
"""e3nn keeps its couplings in double precision, but its constants of D in single."""


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "benchmarks" / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_product_is_block_diagonal_in_the_other_basis(pictures: ModuleType) -> None:
    kron, blocks = pictures.product_matrices()
    degree = torch.tensor([1] * 3 + [2] * 5 + [3] * 7)
    inside = degree[:, None] == degree
    assert blocks[~inside].abs().max() < ROUND_OFF
    assert torch.allclose(blocks @ blocks.T, torch.eye(15, dtype=blocks.dtype), atol=ROUND_OFF)
    assert torch.trace(kron) == pytest.approx(torch.trace(blocks).item(), abs=ROUND_OFF)  # the same map


def test_the_polynomial_of_the_rotated_molecule_is_the_rotated_polynomial(pictures: ModuleType) -> None:
    rotated = pictures.polynomial_of(pictures.MOLECULE @ pictures.rotation().T)
    assert torch.allclose(rotated, pictures.rotate(pictures.polynomial_of(pictures.MOLECULE)), atol=ROUND_OFF)
    assert not torch.allclose(rotated, pictures.polynomial_of(pictures.MOLECULE), atol=0.1)


def test_stress_is_its_trace_and_the_rest(pictures: ModuleType) -> None:
    tensor = torch.tensor([[2.0, 0.5, 0.1], [0.5, -1.0, 0.3], [0.1, 0.3, 0.8]], dtype=torch.float64)
    parts = pictures.decomposed(tensor)
    assert torch.allclose(parts[0], torch.eye(3, dtype=tensor.dtype) * torch.trace(tensor) / 3, atol=ROUND_OFF)
    assert torch.allclose(parts[0] + parts[2], tensor, atol=ROUND_OFF)


def test_all_are_drawn_and_shown(pictures: ModuleType, tmp_path: Path) -> None:
    assert pictures.main(["--out", str(tmp_path)]) == 0
    shown = re.findall(r"\]\(pictures/(\w+)\.png\)", (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8"))
    assert shown == list(pictures.PICTURES)
    for name in shown:
        assert all((tmp_path / f"{name}.{suffix}").stat().st_size > 0 for suffix in ("pdf", "svg", "png", "csv"))
        assert (ROOT / "docs" / "pictures" / f"{name}.png").exists()
