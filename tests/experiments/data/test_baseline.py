"""Energy baselines: exact if compositions explain the energies, refused only if the training frames leave them open."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data.baseline import fit_baseline

WATER, METHANE, CARBON = [8, 1, 1, 0, 0], [6, 1, 1, 1, 1], [6, 0, 0, 0, 0]
CARBONIC, METHANEDIOL_HALF = [6, 8, 8, 0, 0], [6, 8, 0, 0, 0]
ENERGY = {1: -13.6, 6: -1030.0, 8: -2040.0}


def energies(frames: list[list[int]], per_atom: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([sum(ENERGY[z] + per_atom for z in frame if z) for frame in frames])


# energies are thousands of eV, so a relative 1e-12 is double precision with room for a few operations
TOLERANCE = 1e-12


def test_one_composition_is_the_mean() -> None:
    numbers = np.array([WATER, WATER, WATER])
    baseline = fit_baseline(numbers, np.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(baseline.predict(np.array([WATER])), [3.0], rtol=TOLERANCE)
    permuted = np.array([[1, 0, 8, 1, 0]])
    np.testing.assert_allclose(baseline.predict(permuted), [3.0], rtol=TOLERANCE)


def test_one_composition_with_isolated_atoms_is_the_mean_too_but_reaches_further() -> None:
    numbers = np.array([WATER, WATER])
    baseline = fit_baseline(numbers, energies([WATER, WATER], per_atom=-2.0) + np.array([0.5, -0.5]), ENERGY)
    predicted = baseline.predict(np.array([WATER, METHANE]))
    np.testing.assert_allclose(predicted, energies([WATER, METHANE], per_atom=-2.0), rtol=TOLERANCE)


def test_one_composition_refuses_another() -> None:
    baseline = fit_baseline(np.array([WATER]), np.array([1.0]))
    with pytest.raises(InputError, match=r"frame 1 of composition H1O1.*isolated_atoms"):
        baseline.predict(np.array([WATER, [8, 1, 0, 0, 0]]))


def test_one_frame_of_one_element_determines_cells_of_any_size() -> None:
    """What a frame of silicon says of an atom holds for every cell of silicon."""
    baseline = fit_baseline(np.array([[14] * 16 + [0] * 2] * 2), np.array([-80.0, -80.2]))
    predicted = baseline.predict(np.array([[14] * 18, [14] * 2 + [0] * 16]))
    np.testing.assert_allclose(predicted, [-80.1 / 16 * 18, -80.1 / 8], rtol=TOLERANCE)


def test_least_squares_recovers_the_elements() -> None:
    frames = [WATER, METHANE, CARBON, CARBONIC]
    baseline = fit_baseline(np.array(frames), energies(frames))
    np.testing.assert_allclose(baseline.per_element, [ENERGY[z] for z in (1, 6, 8)], rtol=1e-11)


def test_rank_deficient_compositions_predict_only_their_span() -> None:
    """H2O and CH4 do not tell H, C and O apart; (H2O + CH4) is determined all the same, and CO2 is not."""
    frames = [WATER, METHANE]
    baseline = fit_baseline(np.array(frames), energies(frames))
    both = [8, 6, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(baseline.predict(np.array([both])), energies([both]), rtol=1e-11)
    with pytest.raises(InputError, match="frame 1 of composition C1O2"):
        baseline.predict(np.array([WATER, CARBONIC]))


def test_isolated_atoms_with_one_offset_per_atom() -> None:
    frames = [WATER, METHANE]
    baseline = fit_baseline(np.array(frames), energies(frames, per_atom=-3.0), ENERGY)
    np.testing.assert_allclose(
        baseline.predict(np.array([METHANEDIOL_HALF])), energies([METHANEDIOL_HALF], per_atom=-3.0), rtol=TOLERANCE
    )


def test_isolated_atoms_must_cover_the_elements() -> None:
    with pytest.raises(InputError, match=r"data.isolated_atoms: no energy for C;"):
        fit_baseline(np.array([WATER, METHANE]), np.zeros(2), {1: -13.6, 8: -2040.0})


def test_unknown_element() -> None:
    baseline = fit_baseline(np.array([WATER, METHANE]), np.zeros(2))
    with pytest.raises(InputError, match="frame 0, atom 1: element N has no energy baseline; there is one for H, C, O"):
        baseline.predict(np.array([[1, 7, 0, 0, 0]]))
