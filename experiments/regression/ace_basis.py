"""Features of linear ACE: products of channels of the neighbour density, each unordered set once.

Features of one and two factors take all pairs of radial functions; from three factors on only those with
Σ(n−1) < n_radial/2 (n from 1), for their number grows as the power k of the channels. See
experiments/regression/ace.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, groupby

import numpy as np
import torch
from torch import Tensor

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


@cache
def basis(n_species: int, n_radial: int, edge_lmax: int, nu: int) -> tuple[Group, ...]:
    """List all features of an atom, by number of factors, then degrees, then channels (c = species·n_radial + n)."""
    groups = []
    radial = [c % n_radial for c in range(n_species * n_radial)]
    for order in range(1, nu + 1):
        for degrees in _degrees(edge_lmax, order):
            patterns: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
            for channels in _channels(_runs(degrees), radial, _budget(order, n_radial)):
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
def most_features(n_species: int, n_radial: int, edge_lmax: int, nu: int) -> int:
    """Bound the number of features of an atom from above without listing them: all channels count as different."""
    total = 0
    for order in range(1, nu + 1):
        top = min(_budget(order, n_radial), order * (n_radial - 1))
        # multisets[k][s]: k channels with Σ(n−1) = s, by generating functions; a channel may be taken again
        multisets = np.zeros((order + 1, top + 1))
        multisets[0, 0] = 1
        for n in range(n_radial):
            for _ in range(n_species):
                for k in range(1, order + 1):
                    multisets[k, n:] += multisets[k - 1, : top + 1 - n] if n <= top else 0
        for degrees in _degrees(edge_lmax, order):
            ways = np.array([1.0])
            for run in _runs(degrees):
                ways = np.convolve(ways, multisets[run])[: top + 1]
            total += round(ways.sum()) * coupling_basis(degrees, 0, tuple(range(order))).shape[-1]
    return total


def _degrees(edge_lmax: int, order: int) -> list[tuple[int, ...]]:
    """List the degrees of the factors, those that make no pseudo-scalar."""
    return [d for d in combinations_with_replacement(range(edge_lmax + 1), order) if sum(d) % 2 == 0]


def _runs(degrees: tuple[int, ...]) -> list[int]:
    """Count how many factors share each degree."""
    return [len(list(same)) for _, same in groupby(degrees)]


def _budget(order: int, n_radial: int) -> int:
    """Return the largest Σ(n−1) of a product."""
    return order * n_radial if order <= 2 else (n_radial - 1) // 2


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
