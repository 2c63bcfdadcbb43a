"""Tails, local exponents and exchanges of known answer, and the sentences that they add up to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.bounds.label_power import (
    Exchange,
    LabelPower,
    exchange_sentence,
    exchanges,
    label_powers,
    local_exponents,
    power_text,
    read_spectra,
)
from analysis.calibration.synthetic import curve_rows
from analysis.curve import curves
from analysis.errors import InputError
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.table import check_table

MODELS = {"a": (1, 0.4, 0.9), "c": (3, 0.7, 1.5)}
"""ν, β and the tail's exponent by model id."""
K = np.unique(np.geomspace(1, 900, 40).round())


@pytest.fixture
def powers(tmp_path: Path) -> list[LabelPower]:
    """Two models, three seeds, P = 8 … 64; spectra of P up to 32, power laws in k."""
    rng, parts = np.random.default_rng(0), []
    shared: dict[str, Any] = {"dataset": "d", "architecture": "ntk-mace", "unit": "eV/A", "sizes": (8, 16, 32, 64)}
    for name, (nu, beta, tail) in MODELS.items():
        for metric in ("force_mae", "force_rmse"):
            rows = curve_rows(rng, beta=beta, prefactor=1, n_seeds=3, **shared, metric=metric, nu=nu, model_id=name)
            rows["run_id"] = [f"{name}{P}_{seed}" for P, seed in zip(rows["P"], rows["seed"], strict=True)]
            parts.append(rows)
        for run in parts[-1].itertuples():
            spectrum = {"k": K.tolist(), "eigenvalues": (K**-4.0).tolist(), "outside": (K**-tail).tolist()}
            (tmp_path / str(run.run_id)).mkdir()
            content = {"fit": {"spectrum": spectrum} if int(str(run.P)) <= 32 else {}}
            (tmp_path / str(run.run_id) / "result.json").write_text(json.dumps(content))
    fits = analyse(curves(check_table(pd.concat(parts, ignore_index=True), "t")), (Form.POWER, Form.POWER_FLOOR))
    return label_powers(fits, tmp_path)


def test_tails_are_those_of_the_power_laws(powers: list[LabelPower], tmp_path: Path) -> None:
    assert len(powers) == 2
    for power in powers:
        assert power.curve.text("metric") == "force_rmse"
        assert (power.size, power.span, len(power.spectra)) == (32, (32.0, 128.0), 3)
        assert power.tail.value == pytest.approx(MODELS[power.curve.text("model_id")][2], abs=1e-9)
    text = power_text(powers)
    assert text.index("ν=3") < text.index("ν=1")
    assert (
        "fastest for linearised MACE ν=3, slowest for linearised MACE ν=1; β ranks 1 of 1 pairs in the same order"
        in text
    )
    assert "no estimate of β" in text
    with pytest.raises(InputError, match="no run keeps a spectrum"):
        label_powers([power.fit for power in powers], tmp_path / "elsewhere")


def test_local_exponents_of_a_curve_that_bends(powers: list[LabelPower], tmp_path: Path) -> None:
    """ln ε falls by .4 per e-fold of P before 16 and by .8 after; seeds differ by a factor: bands are points."""
    sizes = np.arange(4, 65)
    errors = np.where(sizes < 16, (sizes / 16.0) ** -0.4, (sizes / 16.0) ** -0.8)
    left_out = [
        {"model_id": "c", "seed": seed, "P": sizes.tolist(), "force_rmse": (scale * errors).tolist()}
        for seed, scale in enumerate((1.0, 2.0))
    ]
    (tmp_path / "spectra.json").write_text(json.dumps({"left_out": left_out, "exchanges": []}))
    (local,) = local_exponents(powers, read_spectra(tmp_path))
    assert local.curve.text("model_id") == "c"
    found = dict(zip(local.centres.round(), local.exponents, strict=True))
    assert found[8.0].value == pytest.approx(0.4, abs=1e-6)
    assert found[32.0].value == pytest.approx(0.8, abs=1e-6)
    assert 0.4 < found[16.0].value < 0.8
    assert found[32.0].high - found[32.0].low < 1e-6
    assert read_spectra(tmp_path / "elsewhere") == {"left_out": [], "exchanges": []}


@pytest.mark.parametrize(
    ("beta", "says"),
    [
        (
            [[0.4, 0.41], [0.6, 0.62]],
            "β goes with the kernel's directions: exchanging eigenvalues moves β by up to 0.02",
        ),
        ([[0.4, 0.6], [0.41, 0.62]], "β goes with the kernel's eigenvalues"),
        ([[0.4, 0.5], [0.5, 0.6]], "Neither alone decides β"),
    ],
)
def test_what_an_exchange_says(powers: list[LabelPower], beta: list[list[float]], says: str) -> None:
    both = np.repeat(np.array(beta)[:, :, None], 2, axis=2)
    entry = {"model_ids": ["a", "c"], "dataset": "d", "frames": 64, "sizes": [8, 16, 32], "beta": both.tolist()}
    strange = {**entry, "model_ids": ["a", "of another store"]}
    (found,) = exchanges(powers, {"exchanges": [strange, entry]})
    assert isinstance(found, Exchange)
    assert exchange_sentence(found).startswith(says)
