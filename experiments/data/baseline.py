"""The energy baseline: the part of the energy that composition explains; networks learn the rest.

If all training frames have one composition of several elements, it is the mean training energy. Otherwise it is the
energies of the free atoms plus one energy per atom fitted to the training frames (free atoms alone would leave the mean
binding energy, some eV an atom, for the network to learn), or, if those of the free atoms are unknown, one energy per
element by least squares.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.dataset import AnyDataset, ByIdentity, Dataset
from experiments.data.splits import training_subset


@dataclass(frozen=True)
class Baseline:
    """E(composition) = constant + Σ_Z counts_Z · per_element[Z] (eV).

    `elements` `[s]` are the known atomic numbers and `per_element` `[s]` their energies. `span` `[r, s]` holds
    orthonormal rows that span the training compositions; if given, compositions outside of it cannot be predicted
    (least squares does not determine them). `only` `[s]` is the composition of all training frames, if they had one
    of several elements, and `constant` is their mean energy.
    """

    elements: Ints
    per_element: Floats
    constant: float = 0.0
    span: Floats | None = None
    only: Ints | None = None

    def predict(self, numbers: Ints) -> Floats:
        """Return baseline energies `[F]` (eV) of frames with atomic numbers `[F, N]` (0: padding).

        Raises `InputError` for an unknown element, and for a composition that the training frames do not determine.
        """
        counts = composition(numbers, self.elements)
        if self.only is not None:
            self._refuse((counts != self.only).any(1), counts)
        if self.span is not None:
            outside = counts - counts @ self.span.T @ self.span
            # counts are exact integers, so what remains inside the span is round-off of their size
            self._refuse(np.abs(outside).max(1, initial=0) > 1e-8 * (1 + np.abs(counts).max(1, initial=0)), counts)
        return np.asarray(self.constant + counts @ self.per_element)

    def _refuse(self, bad: NDArray[np.bool_], counts: Floats) -> None:
        if bad.any():
            f = int(np.argmax(bad))
            raise InputError(
                f"frame {f} of composition {_formula(self.elements, counts[f])}: the training frames do not determine "
                "its energy baseline; give data.isolated_atoms=FILE or training frames of more compositions"
            )


def fit_baseline(numbers: Ints, energies: Floats, isolated: Mapping[int, float] | None = None) -> Baseline:
    """Fit the baseline to training frames: atomic numbers `[F, N]` (0: padding), energies `[F]` in eV.

    Pass training frames only: P counts every label that is used. `isolated` maps atomic numbers to the energies of
    free atoms (eV). If all training frames have one composition, it is optional and only lets other compositions be
    predicted too. Raises `InputError` if frames of several compositions hold an element that it lacks.
    """
    if len(numbers) == 0:
        raise ValueError("fit_baseline: needs at least one frame, got none")
    elements = np.unique(numbers[numbers > 0])
    counts = composition(numbers, elements)  # [F, s]
    one_composition = bool((counts == counts[0]).all())
    missing = [chemical_symbols[z] for z in elements if isolated is None or int(z) not in isolated]
    if isolated is not None and missing and not one_composition:
        raise InputError(
            f"data.isolated_atoms: no energy for {', '.join(missing)}; accepted: a file with one frame of each element"
        )
    if isolated is not None and not missing:
        elements = np.array(sorted(isolated), dtype=np.int64)
        counts = composition(numbers, elements)
        free = np.array([isolated[int(z)] for z in elements])
        sizes = counts.sum(1)
        # least squares over the frames for one energy per atom: Σ n (E − E_free) / Σ n²
        return Baseline(elements, free + float(sizes @ (energies - counts @ free) / (sizes @ sizes)))
    if one_composition and len(elements) > 1:  # of one element, any frame has the energy per atom
        return Baseline(elements, np.zeros(len(elements)), float(energies.mean()), only=counts[0])
    _, singular, rows = np.linalg.svd(counts, full_matrices=False)
    rank = int((singular > singular[0] * 1e-10).sum())  # counts are small integers: true zeros are round-off
    solution = np.linalg.lstsq(counts, energies, rcond=1e-10)[0]
    return Baseline(elements, np.asarray(solution), span=rows[:rank])


def composition(numbers: Ints, elements: Ints) -> Floats:
    """Count the atoms of each element in each frame: `[F, N]` and `[s]` → `[F, s]`.

    Raises `InputError` if a frame holds an element that is not in `elements`.
    """
    known = np.isin(numbers, elements) | (numbers == 0)
    if not known.all():
        f, n = np.argwhere(~known)[0]
        raise InputError(
            f"frame {f}, atom {n}: element {chemical_symbols[numbers[f, n]]} has no energy baseline; "
            f"there is one for {', '.join(chemical_symbols[z] for z in elements)}"
        )
    return np.asarray((numbers[:, :, None] == elements).sum(1), dtype=np.float64)


def _formula(elements: Ints, counts: Floats) -> str:
    return "".join(f"{chemical_symbols[z]}{int(n)}" for z, n in zip(elements, counts, strict=True) if n)


def usable_subset(dataset: AnyDataset, P: int, subset_seed: int, closed_form: bool = False) -> Ints:
    """Return the training subset (`splits.training_subset`) if it determines the energy baseline of all frames.

    Asked before a sweep starts, of every P and seed. Raises `InputError` naming P, seed and what the subset lacks.
    """
    chosen = training_subset(dataset, P, subset_seed, closed_form)
    if not isinstance(dataset, Dataset) or dataset.isolated_energies is not None:
        return chosen
    of_labelled, others, elements = _compositions(ByIdentity(dataset))
    if len(others) == 0:
        return chosen
    used = of_labelled[chosen]
    used = used[np.r_[True, (used[1:] != used[:-1]).any(1)]]
    where = f"P={P}, seed={subset_seed}: the training frames"
    free = "data.isolated_atoms=FILE with the energies of free atoms"
    lacking = [chemical_symbols[z] for z in elements[(used.sum(0) == 0) & (others.sum(0) > 0)]]
    if lacking:
        raise InputError(f"{where} hold no {', '.join(lacking)}, which other frames do; accepted: larger P, or {free}")
    outside = _outside(used, others)
    if len(outside):
        formula, larger = _formula(elements, outside[0]), len(_outside(of_labelled, outside[:1])) == 0
        raise InputError(
            f"{where} do not determine the energy baseline of {formula} ({_holder(dataset, elements, outside[0])}); "
            f"accepted: {'larger P, or ' if larger else ''}{free}"
        )
    return chosen


def _outside(used: Floats, others: Floats) -> Floats:
    """Return the compositions of `others` `[n, s]` whose baseline frames of compositions `used` do not determine."""
    if used.shape[1] > 1 and (used == used[0]).all():
        return np.asarray(others[(others != used[0]).any(1)])
    rank = np.linalg.matrix_rank(used)
    beyond = [np.linalg.matrix_rank(np.vstack([used, one])) > rank for one in others]
    return np.asarray(others[np.array(beyond, dtype=bool)])


def _holder(dataset: Dataset, elements: Ints, counts: Floats) -> str:
    """Return the name of the first part of a dataset that is predicted and holds a frame of this composition."""
    further = {f"data.tests.{name}": frames for name, frames in dataset.further.items()}
    parts = {"validation frames": dataset.holdout, f"test set {dataset.test_set}": dataset.test, **further}
    held = (name for name, part in parts.items() if (composition(part.numbers, elements) == counts).all(1).any())
    return next(held)


@functools.lru_cache(maxsize=4)
def _compositions(key: ByIdentity) -> tuple[Floats, Floats, Ints]:
    """Return counts of elements in pool and validation set `[F, s]`, in what is predicted `[n, s]`, and elements."""
    dataset = key.dataset
    others = (dataset.holdout, dataset.test, *dataset.further.values())
    numbers = np.concatenate([part.numbers.ravel() for part in (dataset.pool, *others)])
    elements = np.unique(numbers[numbers > 0]).astype(np.int64)
    predicted = [composition(part.numbers, elements) for part in others if len(part)]
    distinct = np.unique(np.concatenate([*predicted, np.zeros((0, len(elements)))]), axis=0)
    of_labelled = np.concatenate([composition(part.numbers, elements) for part in (dataset.pool, dataset.holdout)])
    return of_labelled, distinct, elements
