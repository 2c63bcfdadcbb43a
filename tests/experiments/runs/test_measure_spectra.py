"""Left-out errors at every P and exchanged spectra, measured on the ladders of a store, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis.cli import main as analysis
from experiments.config.parse import parse
from experiments.core.arrays import Floats
from experiments.data.load import dataset_of
from experiments.regression.gram import GramSystem
from experiments.regression.spectrum import FrameRows, slope, spectrum_of, subset_errors
from experiments.runs import measure_spectra
from experiments.runs.execute import execute
from experiments.runs.measure_spectra import left_out_errors, main, penalties_over, stored_ladders, system_of
from experiments.runs.store import RunStore
from tests.conftest import MakeConfig

SIZES = (2, 4, 8)


@pytest.fixture
def store(make_config: MakeConfig, tmp_path: Path) -> Path:
    """Linearised MACE of ν = 2 and 3, two seeds, and a model that has no spectrum."""
    runs = []
    for P in SIZES:
        for seed in (0, 1):
            for nu in (2, 3):
                config = make_config({"P": P, "seed": seed, "L": 0, "nu": nu, "store": str(tmp_path / "store")})
                config["model"] |= {"architecture": "ntk", "of": "mace"}
                runs.append(parse(config))
            config = make_config({"P": P, "seed": seed, "L": None, "nu": None, "store": str(tmp_path / "store")})
            config["model"] = {"architecture": "nearest"}
            runs.append(parse(config))
    place = RunStore(tmp_path / "store")
    for made in runs:
        run = place.run(made.run_id(dataset_of(made.data).sha256()))
        run.create(made.as_dict())
        assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    return tmp_path / "store"


def random_system(frames: int, rng: np.random.Generator) -> tuple[GramSystem, Floats, Floats]:
    """Frames of three rows, two of forces and one of energies with an intercept; and its rows and labels."""
    rows = rng.normal(size=(3 * frames, 40)) * 1.3 ** -np.arange(40)
    labels = rows @ rng.normal(size=40) + 0.1 * rng.normal(size=3 * frames)
    unpenalised = np.tile([0.0, 0.0, 1.0], frames)[:, None]
    return GramSystem(rows @ rows.T, labels.copy(), unpenalised, np.arange(0, 3 * frames + 1, 3)), rows, labels


def test_left_out_errors_against_fits_without_each_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    system, rows, labels = random_system(9, np.random.default_rng(0))
    results = [{"fit": {"ridge": 1e-3}}, {"fit": {"ridge": 1e-4}}]
    ladder: Any = SimpleNamespace(sizes=[4, 9], results=results, largest=SimpleNamespace(model=SimpleNamespace()))
    monkeypatch.setattr(measure_spectra, "_components", lambda ladder, P: 2 * P)
    found = left_out_errors(system, ladder)
    assert found["P"] == [4, 5, 6, 7, 8, 9]
    penalties = penalties_over([1e-3 * system.top(4), 1e-4 * system.top(9)])
    assert min(penalties) < 1e-4 * system.top(9) < 1e-3 * system.top(4) < max(penalties)
    for P, error in zip(found["P"], found["force_rmse"], strict=True):
        tried = []
        for penalty in penalties:
            errors = np.concatenate([without(rows, labels, f, int(P), penalty) for f in range(int(P))])
            forces = np.tile([True, True, False], int(P))
            tried.append((float(errors @ errors), float(np.sqrt((errors[forces] ** 2).mean()))))
        assert error == pytest.approx(min(tried)[1], rel=1e-8)


def without(rows: Floats, labels: Floats, frame: int, P: int, penalty: float) -> Floats:
    """Labels of a frame minus predictions of ridge regression on the other first P, with an intercept of energies."""
    own = np.arange(3 * P) // 3 == frame
    one = np.tile([0.0, 0.0, 1.0], P)[:, None]
    x = np.concatenate([rows[: 3 * P], one], 1)
    ridge = penalty * np.diag([1.0] * 40 + [0.0])
    w = np.linalg.solve(x[~own].T @ x[~own] + ridge, x[~own].T @ labels[: 3 * P][~own])
    return np.asarray(labels[: 3 * P][own] - x[own] @ w)


def test_a_store_is_measured_and_told_of(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in store.rglob("result.json")}
    assert analysis(["spectrum", "--store", str(store)]) == 0
    assert "python -m experiments.runs.measure_spectra" in capsys.readouterr().out
    assert main(["--store", str(store), "--subsets", "2"]) == 0
    assert {path: path.read_bytes() for path in store.rglob("result.json")} == before
    content = json.loads((store / "spectra.json").read_text())
    assert len(content["left_out"]) == 4
    assert all(one["P"] == list(range(2, 9)) for one in content["left_out"])
    (exchange,) = content["exchanges"]
    assert (exchange["frames"], exchange["sizes"]) == (8, [2, 4])
    mine = [one for one in stored_ladders(store) if one.model_id == exchange["model_ids"][0]]
    ladder = next(one for one in mine if one.largest.seed == 0)
    system = system_of(ladder)
    assert system is not None
    gram, labels = system.centred(8)
    rows = FrameRows(system.starts, measure_spectra.force_rows(system))
    order = np.random.default_rng([8, 1]).permutation(8)
    # exchange with oneself is the kernel itself, up to the round-off of its eigenvalues, which ridges down to 1e-13 see
    own = slope([2, 4], subset_errors(gram, labels, rows, order, [2, 4]))
    assert exchange["beta"][0][0][1] == pytest.approx(own, abs=5e-3)
    kept = spectrum_of(gram, labels)
    fit = ladder.results[-1]["fit"]["spectrum"]
    k = np.array(fit["k"])
    np.testing.assert_allclose(fit["eigenvalues"], kept.values[k - 1] / kept.values[0], rtol=1e-4, atol=1e-14)
    np.testing.assert_allclose(fit["outside"], kept.outside[k], atol=1e-8)
    out, written = tmp_path / "figures", tmp_path / "spectrum.json"
    assert analysis(["spectrum", "--store", str(store), "--out", str(out), "--json", str(written)]) == 0
    said = capsys.readouterr().out
    assert "How much of the labels lies outside the kernel's first k directions" in said
    assert "exchanging eigenvalues moves β by up to" in said
    assert {path.suffix for path in out.iterdir()} == {".pdf", ".svg", ".png", ".csv"}
    assert len(json.loads(written.read_text())) == 2 + 2 + 1


def test_bad_input_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", str(tmp_path / "absent")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["--store", str(tmp_path / "empty")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "no such directory; accepted: a store of runs" in lines[0]
    assert "no finished ladder in it; accepted: runs of model=ntk" in lines[1]
