"""Why exponents differ: the spectrum of a Gram matrix, the labels' power in it, and what an exchange of either does.

K = Σ_i μ_i u_i u_iᵀ of the weighted rows of some frames, intercepts projected out, and labels y:

    C(k) = Σ_{i ≤ k} (u_iᵀy)² / |y|²      cumulative power (Canatar, Bordelon & Pehlevan 2021, arXiv 2006.13198)

1 − C(k) is how much of the labels lies outside the kernel's first k directions. Where it falls faster, so do errors:
with μ_i ~ i^−α and 1 − C(k) ~ k^−2rα the noiseless error falls as P^(−α min(r, 1)) (Cui et al. 2021, arXiv 2105.15004;
Spigler et al. 2020, arXiv 1905.10843), so for r < 1 half the tail's exponent decides, whatever α is. Rows of one frame
are not independent and nothing is a power law over decades, so the tail ranks models on the same frames and is no
estimate of β. K' = U_a diag(μ_b) U_aᵀ of two models a and b shows which of the two, directions or eigenvalues, sets β.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.core.arrays import Floats, Ints

WHOLE_ROWS = 1500
"""Rows up to which all of a spectrum is computed (0.4 CPU seconds); of more, the first `DIRECTIONS`."""
DIRECTIONS, SUBSPACE = 512, 768
"""Directions that are kept of a large matrix (the tail up to P = 128 or, from P = 8, over a factor of 16), and the size
of the subspace in which they are sought."""
SCRATCH = 5 * SUBSPACE
"""Numbers a row that the search keeps at a time."""
KEPT = 40
"""Values of k at which a result keeps the spectrum."""
ROUND_OFF = 1e-15
"""Eigenvalues below this share of the largest are round-off."""
PENALTIES = 10.0 ** np.arange(-13.0, 0.5, 0.5)
"""Ridges over the largest eigenvalue, from which an exchanged kernel takes the best."""


@dataclass(frozen=True)
class Spectrum:
    """The largest m of n eigenvalues and what belongs to them.

    values   `[m]`, descending
    vectors  `[n, m]` eigenvectors, in columns
    power    `[m]` the share of the labels' power in each
    rest     the share in no one of them
    """

    values: Floats
    vectors: Floats
    power: Floats
    rest: float = 0.0

    @property
    def outside(self) -> Floats:
        """1 − C(k) for k = 0 … m − 1, summed from the end: no digits are lost."""
        return np.asarray(self.rest + self.power[::-1].cumsum()[::-1])


def facts_work(rows: float) -> float:
    """Return the operations of the two large products that the spectrum of so many rows takes."""
    return 4.0 * rows**2 * SUBSPACE if rows > WHOLE_ROWS else 0.0


def spectrum_of(gram: Floats, labels: Floats) -> Spectrum:
    """Return the spectrum of a Gram matrix `[n, n]` with its labels `[n]`, both without intercepts."""
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])
    total = float(labels @ labels)
    power = (vectors.T @ labels) ** 2 / total if total > 0 else np.zeros(len(labels))
    return Spectrum(values, vectors, power)


def leading_spectrum(product: Callable[[Floats], Floats], labels: Floats) -> Spectrum:
    """Return the first `DIRECTIONS` of a large spectrum, by Rayleigh–Ritz in a random range of the matrix.

    Halko, Martinsson & Tropp 2011 (arXiv 0909.4061), algorithms 4.1 and 5.3. Eigenvalues of smooth kernels fall fast,
    for which one product before the last is enough: with cell C and 128 frames of ethanol 1 − C(k) is within 5e-3 of
    that of the whole matrix at k = 512 and within 2e-4 up to k = 384, in 0.9 CPU seconds instead of 3.4.

    Args:
        product: multiplies the Gram matrix by `[n, V]`, both without intercepts.
        labels: `[n]`, likewise.
    """
    n = len(labels)
    basis = np.linalg.qr(product(np.random.default_rng(n).normal(size=(n, min(n, SUBSPACE)))))[0]
    inner = basis.T @ product(basis)
    values, rotation = np.linalg.eigh((inner + inner.T) / 2)
    first = slice(None, -DIRECTIONS - 1, -1)
    vectors = basis @ rotation[:, first]
    inside = vectors.T @ labels
    rest = labels - vectors @ inside
    total = float(labels @ labels) or 1.0
    return Spectrum(np.maximum(values[first], 0.0), vectors, inside**2 / total, float(rest @ rest) / total)


def kept_facts(spectrum: Spectrum) -> dict[str, list[float]]:
    """Return `k`, `eigenvalues` μ_k/μ_1 and `outside` 1 − C(k) at up to `KEPT` k, evenly spaced on a log scale."""
    top = spectrum.values[0] if len(spectrum.values) else 0.0
    count = int((spectrum.values > ROUND_OFF * top).sum()) if top > 0 else 0
    if count < 2:
        return {"k": [], "eigenvalues": [], "outside": []}
    k = np.unique(np.geomspace(1, count - 1, KEPT).round().astype(np.int64))
    return {
        "k": k.tolist(),
        "eigenvalues": (spectrum.values[k - 1] / top).tolist(),
        "outside": spectrum.outside[k].tolist(),
    }


@dataclass(frozen=True)
class FrameRows:
    """Rows of some frames: `starts` `[F + 1]` the first row of each, `forces` `[n]` whether a row is of a force."""

    starts: Ints
    forces: np.ndarray[Any, np.dtype[np.bool_]]

    def of(self, frames: Ints) -> Ints:
        """Return the rows of `frames`, in that order."""
        return np.concatenate([np.arange(self.starts[f], self.starts[f + 1]) for f in frames])

    def same(self, other: FrameRows) -> bool:
        """Whether the rows of another model are of the same kinds in the same places."""
        return np.array_equal(self.starts, other.starts) and np.array_equal(self.forces, other.forces)


def exchanged(directions: Spectrum, values: Spectrum) -> Floats:
    """Return the Gram matrix `[n, n]` with the eigenvectors of one spectrum and the eigenvalues of the other."""
    return np.asarray((directions.vectors * values.values) @ directions.vectors.T)


def subset_errors(gram: Floats, labels: Floats, rows: FrameRows, order: Ints, sizes: Sequence[int]) -> Floats:
    """Return the root-mean-square error of force rows of the frames that no size trains on, `[sizes]`.

    Ridge regression on the first P frames of `order`, exact, with the best ridge of `PENALTIES` for those errors.

    Args:
        gram: of all frames, without intercepts, `[n, n]`.
        labels: `[n]`, likewise.
        rows: of the frames.
        order: a permutation of the frames.
        sizes: numbers of training frames, ascending.
    """
    rest = rows.of(order[max(sizes) :])
    rest = rest[rows.forces[rest]]
    found = []
    for P in sizes:
        own = rows.of(order[:P])
        values, vectors = np.linalg.eigh(gram[np.ix_(own, own)])
        across = gram[np.ix_(rest, own)] @ vectors  # [rest, n]
        rotated = vectors.T @ labels[own]
        shrunk = rotated[:, None] / (np.maximum(values, 0.0)[:, None] + values[-1] * PENALTIES)  # [n, penalties]
        errors = across @ shrunk - labels[rest][:, None]
        found.append(np.sqrt((errors**2).mean(0)).min())
    return np.array(found)


def slope(sizes: Sequence[int], errors: Floats) -> float:
    """Return β of errors `[sizes]` by a straight line in logarithms."""
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def exchange_matrix(
    spectra: Sequence[Spectrum], labels: Sequence[Floats], rows: FrameRows, sizes: Sequence[int], subsets: int
) -> Floats:
    """Return β `[a, b, subsets]` with the eigenvectors (and labels) of model a and the eigenvalues of model b.

    All models have the same frames and rows. The subsets, the same for all, are drawn of these frames; errors are those
    of the others.
    """
    frames = len(rows.starts) - 1
    orders = [np.random.default_rng([frames, subset]).permutation(frames) for subset in range(subsets)]
    beta = np.empty((len(spectra), len(spectra), subsets))
    for a, directions in enumerate(spectra):
        for b, values in enumerate(spectra):
            gram = exchanged(directions, values)
            for s, order in enumerate(orders):
                beta[a, b, s] = slope(sizes, subset_errors(gram, labels[a], rows, order, sizes))
    return beta
