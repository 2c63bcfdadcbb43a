"""Ladders of many rows: memory that is planned is what is taken, spectra are those of the whole matrix, labels in the
span are learned."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from experiments.core.arrays import Floats
from experiments.data.dataset import Frames
from experiments.models.ace import AceConfig
from experiments.models.mace import MaceConfig
from experiments.models.ntk import NtkConfig
from experiments.regression import cholesky, ridge, rows, spectrum
from experiments.regression import ladder as ladders
from experiments.regression.ace import Ace
from experiments.regression.cholesky import Tick
from experiments.regression.closed_form import Labels
from experiments.regression.gram import Factor, GramSystem
from experiments.regression.gram_path import Path, Products, fit_gram
from experiments.regression.ladder import Conditions
from experiments.regression.ntk import Ntk
from tests.experiments.regression.test_krr import molecules

NETWORK = MaceConfig(
    L=0, nu=3, edge_lmax=2, cutoff=4.0, n_bessel=3, radial_hidden=(4,), readout_hidden=3, channels=2, n_layers=2
)


def planned(P: int, free: float, monkeypatch: pytest.MonkeyPatch) -> rows.Plan:
    """Plan ethanol with the 32,816 weights of cell C at 16 channels, of which a pass over 32 frames takes 150 MB."""
    monkeypatch.setattr("experiments.core.machine_memory.memory_limit", lambda: free)
    x = np.zeros((P, 9, 3))
    frames = Frames(np.ones((P, 9), np.int64), x, np.zeros(P), x, np.zeros((P, 3, 3)), np.zeros((P, 3), dtype=bool))
    return rows.Plan.for_size(frames, [P], 32_816, 32, 1.5e8, (1.0, 1.0), "")


def test_large_ladders_leave_memory_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 frames of ethanol take under 8 GB however much is free, 512 keep their rows; larger ones have tiles."""
    largest = planned(1024, 1e12, monkeypatch)
    assert not largest.held
    assert largest.bytes < 8e9
    assert largest.tile >= 256  # rows are made less than three times
    assert planned(512, 1e12, monkeypatch).held
    assert 512 <= planned(1536, 1e12, monkeypatch).tile < 1536
    scarce = planned(1024, 7.9e9, monkeypatch)
    assert scarce.bytes <= 0.9 * 7.9e9
    assert scarce.tile < largest.tile


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_plan_bounds_the_arrays(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that numpy allocates, with rows held and in tiles, at every size of the ladder."""
    frames, model = molecules(64, scatter=0.1), Ntk(NtkConfig(network=replace(NETWORK, channels=8)), [1, 6, 8])
    monkeypatch.setattr("experiments.regression.linearised._MOST_FRAMES", 8)
    monkeypatch.setattr(rows, "SCRATCH", 0)  # no part of these rows' spectra
    monkeypatch.setattr(ladders, "solution_facts", lambda *arguments: {})
    monkeypatch.setattr("experiments.regression.least_squares.solution_facts", lambda *arguments: {})
    network, sizes = model.linearised(model.initial(frames, 0)), [16, 64]
    whole = rows.Plan.of(frames, sizes, network, (1.0, 1.0))
    assert whole.held
    monkeypatch.setattr(rows, "_AMPLE", share * whole.bytes)
    plan = rows.Plan.of(frames, sizes, network, (1.0, 1.0))
    assert plan.held == (share == 1.0)
    tracemalloc.start()
    try:
        made = rows.Rows(
            network, frames, Labels.of(frames, network.elements, None, 1.0, 1.0), plan, True, lambda s: None
        )
        system = made.system(64)
        path = Path(system)
        for P in sizes:
            fit_gram(path, P, products=Products(made.combine, made.apply))
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # beside them vectors and blocks of a frame, a megabyte for so few rows
    assert taken < plan.bytes + 1e6
    assert taken > 0.5 * (plan.bytes - network.fill_bytes(frames))


def decaying(n: int, power: float) -> tuple[Floats, Floats]:
    """Return a symmetric matrix with eigenvalues i^−power, and labels whose power falls as i^−2 in its directions."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(n, n)))[0]
    i: Floats = np.arange(1, n + 1, dtype=np.float64)
    return (u * i**-power) @ u.T, u @ (i**-1.0 * rng.choice([-1.0, 1.0], n))


def test_the_first_directions_are_those_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "DIRECTIONS", 40)
    monkeypatch.setattr(spectrum, "SUBSPACE", 60)
    gram, labels = decaying(300, 4.0)
    whole, found = spectrum.spectrum_of(gram, labels), spectrum.leading_spectrum(lambda v: gram @ v, labels)
    assert found.vectors.shape == (300, 40)
    assert found.power.sum() + found.rest == pytest.approx(1)
    # by one iteration: (40/60)⁴ of a neighbouring direction's weight, squared, is a few per cent at the very end
    np.testing.assert_allclose(found.values[:30], whole.values[:30], rtol=1e-2)
    np.testing.assert_allclose(found.outside[:31], whole.outside[:31], rtol=2e-2)
    nothing = spectrum.leading_spectrum(lambda v: gram @ v, np.zeros(300))
    assert spectrum.kept_facts(nothing)["outside"][0] == 0


def test_facts_of_many_rows_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run keeps its spectrum whatever its number of rows; the first directions by either way agree."""
    frames, model = molecules(24, scatter=0.1), Ntk(NtkConfig(network=replace(NETWORK, channels=8)), [1, 6, 8])
    (whole,) = model.ladder(frames, [24], Conditions()).solutions
    monkeypatch.setattr(ladders, "WHOLE_ROWS", 100)
    monkeypatch.setattr(spectrum, "DIRECTIONS", 40)
    monkeypatch.setattr(spectrum, "SUBSPACE", 80)
    (part,) = model.ladder(frames, [24], Conditions()).solutions
    kept, other = part.facts["spectrum"], whole.facts["spectrum"]
    assert max(kept["k"]) < 40 < max(other["k"])
    common = sorted(set(kept["k"]) & set(other["k"]))
    assert len(common) > 8
    for name in ("eigenvalues", "outside"):
        found, expected = (dict(zip(one["k"], one[name], strict=True)) for one in (kept, other))
        # eigenvalues fall by a thousand from the 20th to the 80th direction
        np.testing.assert_allclose([found[k] for k in common], [expected[k] for k in common], rtol=1e-2)


def test_labels_in_the_span_are_learned() -> None:
    """Labels that some coefficients of the training rows make: every size that has these rows predicts test frames."""
    frames, model = molecules(24, scatter=0.1), Ntk(NtkConfig(network=NETWORK), [1, 6, 8])
    test = molecules(6, seed=1)
    network = model.linearised(model.initial(frames, 0))
    coefficients = np.random.default_rng(0).normal(size=network.size)
    (own,), (wanted,) = (network.predict_all(coefficients[None], f) for f in (frames, test))
    taught = replace(frames, energies=own.energies, forces=own.forces)
    ladder = model.ladder(taught, [3, 24], Conditions(pool=frames))
    size = np.abs(wanted.forces).max()
    few, all_rows = (np.abs(p.forces - wanted.forces).max() / size for p in ladder.predict(test))
    # 24 frames have 312 rows, more than the directions that smooth functions of six atoms have to 1e-7, the root of λ
    assert all_rows < 1e-4
    assert few > 100 * all_rows


def linear_ace(frames: int) -> tuple[Ace, Frames]:
    """A small linear ACE, and frames of a molecule with labels of a smooth kernel's draw."""
    return Ace(AceConfig(nu=2, edge_lmax=2, n_radial=3, degree=None, cutoff=4.0), [1, 6, 8]), molecules(frames)


@pytest.mark.parametrize(("frames", "in_dual", "leap"), [(12, True, 0.4), (80, False, 0.6)])
def test_shares_of_progress_follow_the_work(
    frames: int, in_dual: bool, leap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, products in pieces, factors and predictions are all told of; an eigendecomposition is one leap."""
    monkeypatch.setattr(rows, "_AT_ONCE", 8)
    monkeypatch.setattr(cholesky, "BLOCK", 16)
    monkeypatch.setattr("experiments.regression.ace._CHUNK_BYTES", 2**16)
    model, pool = linear_ace(frames)
    assert in_dual == ridge.in_dual(frames * 13, model.size)
    shares: list[float] = []
    ladder = model.ladder(pool, [frames], Conditions(watch=shares.append, tests=10))
    solved = shares[-1]
    ladder.predict(molecules(10, seed=1))
    assert shares == sorted(shares)
    assert 0.3 < solved < 1.0
    assert shares[-1] >= solved
    assert len(shares) > 10
    assert max(np.diff(shares)) < leap


def test_products_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = linear_ace(12)
    labels = Labels.of(frames, model.elements, None, 1.0, 1.0)
    plan = rows.Plan.of(frames, [12], model, (1.0, 1.0))
    made = rows.Rows(model, frames, labels, plan, True, cholesky.silent)
    whole = made.system(12).block(12)
    monkeypatch.setattr(rows, "_AT_ONCE", 8)
    monkeypatch.setattr(cholesky, "BLOCK", 16)
    # sums of `size` products in another order
    np.testing.assert_allclose(made.system(12).block(12), whole, atol=1e-14 * model.size * whole.max())


def test_the_ridge_of_many_rows_goes_on_as_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """One factorisation of all rows, with λ from a quarter and a half of the frames."""
    model, frames = linear_ace(64)
    labels = Labels.of(frames, model.elements, None, 1.0, 1.0)
    made = rows.Rows(model, frames, labels, rows.Plan.of(frames, [64], model, (1.0, 1.0)), True, cholesky.silent)
    system = made.system(64)
    whole: list[int] = []
    factor = GramSystem.factor

    def counted(
        system: GramSystem, penalty: float, frames: int | None = None, tick: Tick = cholesky.silent, beside: bool = True
    ) -> Factor:
        whole.append(system.rows(system.frames if frames is None else frames))
        return factor(system, penalty, frames, tick, beside)

    monkeypatch.setattr(GramSystem, "factor", counted)
    path = Path(system, walked=system.rows(40))
    quarter, half, chosen = path.choose(16), path.choose(32), path.choose(64)
    assert chosen == max(path.lowest, half - min(max(quarter - half, 0), 2))
    fit_gram(path, 64, products=Products(made.combine, made.apply))
    assert whole.count(system.rows(64)) == 1
    assert whole.count(system.rows(32)) > 1  # that walk has steps
