"""What kernel ridge regression sees of a molecule: its inverse distances, and the renumberings that keep its bonds.

Chmiela et al. 2017 (doi 10.1126/sciadv.1603015) and 2018 (arXiv 1802.09238).
"""

from __future__ import annotations

from itertools import islice

import networkx as nx
import numpy as np

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.core.kernels import pair_slopes
from experiments.data.dataset import Frames
from experiments.data.sampling.molecule import BONDED_ON_AVERAGE, bonds

MOST_PERMUTATIONS = 256


def inverse_distances(positions: Floats) -> tuple[Floats, Floats]:
    """Return the descriptor and its slopes: `[F, N, 3]` Å → 1/r `[F, D]` in 1/Å, ∂q/∂x `[F, D, 3N]`; D = N(N−1)/2.

    Raises:
        InputError: two atoms on one point.
    """
    n = positions.shape[1]
    i, j = np.triu_indices(n, 1)
    away = positions[:, i] - positions[:, j]
    r = np.linalg.norm(away, axis=2)
    if not (r > 0).all():
        frame, pair = np.argwhere(r == 0)[0]
        raise InputError(
            f"frame {frame}: atoms {i[pair]} and {j[pair]} lie on the same point; accepted: atoms that are apart"
        )
    return 1 / r, pair_slopes(away / r[..., None] ** 3, n)


def bond_permutations(frames: Frames) -> Ints:
    """List the renumberings of like atoms `[S, N]` that keep the bonds of the molecule; they form a group.

    Bonds are those that the frames list, or pairs whose mean distance over the frames is that of a covalent bond.

    Raises:
        InputError: there are more than `MOST_PERMUTATIONS`.
    """
    numbers = frames.numbers[0][frames.numbers[0] > 0]
    graph = nx.Graph()
    graph.add_nodes_from((n, {"z": int(z)}) for n, z in enumerate(numbers))
    if frames.bonds is not None:
        graph.add_edges_from(frames.bonds.tolist())
    else:
        bonded = bonds(numbers, frames.positions[:, : len(numbers)], BONDED_ON_AVERAGE)
        graph.add_edges_from(np.argwhere(np.triu(bonded)).tolist())
    matcher = nx.isomorphism.GraphMatcher(graph, graph, node_match=lambda a, b: a["z"] == b["z"])
    permutations = list(islice(matcher.isomorphisms_iter(), MOST_PERMUTATIONS + 1))
    if len(permutations) > MOST_PERMUTATIONS:
        raise InputError(
            f"model.symmetrise=true: more than {MOST_PERMUTATIONS} permutations keep the molecule's bonds; "
            "accepted: model.symmetrise=false"
        )
    return np.array(sorted([p[n] for n in range(len(numbers))] for p in permutations), dtype=np.int64)
