"""Features of linear ACE: products of channels of the neighbour density, each unordered set once.

Their number grows as the power k of the channels, so products are taken up to a total degree Σ(n−1) + Σl over their
factors (n from 1), a number for each k: Kovács et al. 2021 (doi 10.1021/acs.jctc.1c00647), Dusson et al. 2022
(arXiv 1911.03550). Without one, all pairs of radial functions are taken, and from three factors on those with
Σ(n−1) < n_radial/2. See experiments/regression/ace.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, groupby

import numpy as np
import torch
from torch import Tensor

from experiments.core.arrays import Floats
from experiments.nn.couplings import coupling_basis


@dataclass(frozen=True)
class Group:
    """Features of the same degrees and the same pattern of equal channels.

    degrees   `(l₁ ≤ … ≤ l_k)`
    channels  `[t, k]` int64: the channels of each feature's factors, ascending among equal degrees
    coupling  `[2·l₁+1, …, 2·l_k+1, p]`: every row of `channels` makes `p` features
    """

    degrees: tuple[int, ...]
    channels: Tensor
    coupling: Tensor

    @property
    def size(self) -> int:
        """Number of features."""
        return self.channels.shape[0] * self.coupling.shape[-1]

    def of_channel(self, factor: int) -> list[tuple[int, Tensor]]:
        """List the channels that a factor takes, each with its rows of `channels`."""
        own = self.channels[:, factor]
        return [(int(channel), torch.nonzero(own == channel)[:, 0]) for channel in torch.unique(own)]

    def smoothness(self, n_radial: int) -> Floats:
        """Return 1 + Σ (n−1)² + Σ l² over the factors of every feature: how fast it varies, `[size]`."""
        radial = (self.channels % n_radial).square().sum(1)
        own = 1 + radial + sum(degree**2 for degree in self.degrees)
        return own.repeat_interleave(self.coupling.shape[-1]).numpy().astype(np.float64)


@dataclass(frozen=True)
class Truncation:
    """Which products are features: n from 1 to `n_radial` and l up to `lmax` in every factor, up to `nu` factors.

    degrees  the largest Σ(n−1) + Σl of one, two, … factors (total degree); None: only that of n counts, and only from
             three factors on, where Σ(n−1) < n_radial/2
    """

    n_radial: int
    lmax: int
    nu: int
    degrees: tuple[int, ...] | None = None

    def multidegrees(self, order: int) -> list[tuple[int, ...]]:
        """List the degrees l of the factors of products of so many; no pseudo-scalars, whose sum is odd."""
        top = self.lmax if order > 1 else 0
        if self.degrees is not None:
            top = min(top, self.degrees[order - 1] // 2)  # two factors have it at least: of one alone is no scalar
        found = combinations_with_replacement(range(top + 1), order)
        return [ls for ls in found if sum(ls) % 2 == 0 and ls[-1] <= sum(ls[:-1]) and self.radial(ls) >= 0]

    def radial(self, ls: tuple[int, ...]) -> int:
        """Return the largest Σ(n−1) of products of these degrees."""
        order = len(ls)
        whole = order * (self.n_radial - 1)
        if self.degrees is not None:
            return min(whole, self.degrees[order - 1] - sum(ls))
        return whole if order <= 2 else (self.n_radial - 1) // 2


@cache
def basis(n_species: int, kept: Truncation) -> tuple[Group, ...]:
    """List all features of an atom, by number of factors, then degrees, then channels (c = species·n_radial + n)."""
    groups = []
    radial = [c % kept.n_radial for c in range(n_species * kept.n_radial)]
    for order in range(1, kept.nu + 1):
        for degrees in kept.multidegrees(order):
            patterns: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
            for channels in _channels(_runs(degrees), radial, kept.radial(degrees)):
                alike = tuple(
                    next(j for j in range(i + 1) if (channels[j], degrees[j]) == (channels[i], degrees[i]))
                    for i in range(order)
                )
                patterns.setdefault(alike, []).append(channels)
            for alike, rows in patterns.items():
                coupling = coupling_basis(degrees, 0, alike).squeeze(-2)
                if coupling.shape[-1]:
                    groups.append(Group(degrees, torch.tensor(rows), coupling))
    return tuple(groups)


@cache
def most_features(n_species: int, kept: Truncation) -> int:
    """Bound the number of features of an atom from above without listing them: all channels count as different."""
    total = 0
    for order in range(1, kept.nu + 1):
        top = max((kept.radial(degrees) for degrees in kept.multidegrees(order)), default=0)
        # multisets[k][s]: k channels with Σ(n−1) = s, by generating functions; a channel may be taken again
        multisets = np.zeros((order + 1, top + 1))
        multisets[0, 0] = 1
        for n in range(min(kept.n_radial, top + 1)):
            for _ in range(n_species):
                for k in range(1, order + 1):
                    multisets[k, n:] += multisets[k - 1, : top + 1 - n]
        for degrees in kept.multidegrees(order):
            ways = np.array([1.0])
            for run in _runs(degrees):
                ways = np.convolve(ways, multisets[run])[: kept.radial(degrees) + 1]
            total += round(ways.sum()) * coupling_basis(degrees, 0, tuple(range(order))).shape[-1]
    return total


def _runs(degrees: tuple[int, ...]) -> list[int]:
    """Count how many factors share each degree."""
    return [len(list(same)) for _, same in groupby(degrees)]


def _channels(runs: Sequence[int], radial: Sequence[int], budget: int) -> Iterator[tuple[int, ...]]:
    """Yield the channels of all factors, ascending within a run, with Σ(n−1) ≤ `budget`; in lexicographic order."""
    ends = [position for position, _ in enumerate(runs) for _ in range(runs[position])]

    def longer(chosen: tuple[int, ...], left: int) -> Iterator[tuple[int, ...]]:
        k = len(chosen)
        if k == len(ends):
            yield chosen
            return
        first = chosen[-1] if k and ends[k] == ends[k - 1] else 0
        for c in range(first, len(radial)):
            if radial[c] <= left:
                yield from longer((*chosen, c), left - radial[c])

    return longer((), budget)


def harmonic(density: Tensor, degree: int) -> Tensor:
    """Return the part of one degree of A: `[..., lm]` → `[..., 2·degree+1]`."""
    return density[..., degree**2 : (degree + 1) ** 2]


@dataclass(frozen=True)
class Prefixes:
    """The distinct prefixes of rows of channels `[t, k]`, which many features share.

    steps  for each of the k factors its channel `[b]` in every prefix, and the prefix before it `[b]`
    rows   `[t]` which of the last ones each row is
    """

    steps: tuple[tuple[Tensor, Tensor], ...]
    rows: Tensor

    @staticmethod
    def of(channels: Tensor) -> Prefixes:
        """Find the prefixes of all rows."""
        steps = []
        rows = torch.zeros(len(channels), dtype=torch.int64)
        for j in range(channels.shape[1]):
            prefixes, new = torch.unique(channels[:, : j + 1], dim=0, return_inverse=True)
            parent = torch.zeros(len(prefixes), dtype=torch.int64)
            parent[new] = rows
            steps.append((prefixes[:, -1], parent))
            rows = new
        return Prefixes(tuple(steps), rows)


def contract(density: Tensor, degrees: tuple[int, ...], prefixes: Prefixes, coupling: Tensor) -> Tensor:
    """Contract the coupling with all factors but the last: A `[i, c, lm]` → `[i, t, m_last, p]`."""
    partial = coupling[None, None]  # [i, prefixes, m, …, m_last, p]
    for j, (degree, (channel, parent)) in enumerate(zip(degrees, prefixes.steps, strict=True)):
        factor = harmonic(density, degree)[:, channel]  # [i, prefixes, m]
        before = partial.expand(density.shape[0], *partial.shape[1:])[:, parent] if j else partial
        partial = torch.einsum("ibm,ibm...->ib...", factor, before.expand(*factor.shape[:2], *before.shape[2:]))
    rows = prefixes.rows
    return partial[:, rows] if degrees else partial.expand(density.shape[0], len(rows), *coupling.shape)
