"""Small clusters of atoms and their graphs, with positions that can be differentiated, for the tests of models."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.nn.graph import Graph


def positions(seed: int, pack: int, frames: int, atoms: int, spacing: float = 1.3) -> Tensor:
    """Draw positions `[pack, frames, atoms, 3]` float64 in Å: a jittered lattice, so that no two atoms meet."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(3, dtype=torch.float64)
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)[:atoms] * spacing
    jitter = torch.rand(pack, frames, atoms, 3, generator=generator, dtype=torch.float64) - 0.5
    return lattice + 0.5 * spacing * jitter


def species(seed: int, pack: int, frames: int, atoms: int, n_species: int = 3) -> Tensor:
    """Draw species `[pack, frames, atoms]` int64."""
    return torch.randint(n_species, (pack, frames, atoms), generator=torch.Generator().manual_seed(seed))


def graph_of(x: Tensor, kinds: Tensor, cutoff: float, slots: int = 0, padding: int = 0) -> Graph:
    """Make the graph of positions `x` `[p, f, a, 3]`.

    It has `slots` more than needed and `padding` atoms a frame, filled with values that would show (a masked vector of
    length zero, a padding atom of species 1).
    """
    pack, frames, atoms, _ = x.shape
    near = torch.cdist(x.detach(), x.detach()) < cutoff
    found = [
        [[[j for j in range(atoms) if j != i and near[p, f, i, j]] for i in range(atoms)] for f in range(frames)]
        for p in range(pack)
    ]
    k = max(max((len(js) for frame in run for js in frame), default=0) for run in found) + slots
    k, n = max(k, 1), atoms + padding
    senders = torch.empty(pack, frames, n, k, dtype=torch.int64)
    reverse = torch.empty(pack, frames, n, k, dtype=torch.int64)
    mask = torch.zeros(pack, frames, n, k, dtype=x.dtype)
    local = torch.zeros(pack, frames, n, k, dtype=torch.int64)
    for p in range(pack):
        for f in range(frames):
            first = (p * frames + f) * n
            for i in range(n):
                for s in range(k):
                    js = found[p][f][i] if i < atoms else []
                    j = js[s] if s < len(js) else i
                    senders[p, f, i, s] = first + j
                    local[p, f, i, s] = min(j, atoms - 1)
                    back = found[p][f][j].index(i) if s < len(js) else s
                    reverse[p, f, i, s] = (first + j) * k + back
                    mask[p, f, i, s] = float(s < len(js))
    index = local.reshape(pack, frames, n * k, 1).expand(-1, -1, -1, 3)
    own = torch.cat([x, x[:, :, -1:].expand(-1, -1, padding, -1)], 2)
    vectors = (x.gather(2, index).reshape(pack, frames, n, k, 3) - own[:, :, :, None]) * mask[..., None]
    return Graph(
        vectors=vectors.reshape(pack, frames * n, k, 3),
        senders=senders.reshape(pack, frames * n, k),
        reverse=reverse.reshape(pack, frames * n, k),
        mask=mask.reshape(pack, frames * n, k),
        species=torch.cat([kinds, torch.ones(pack, frames, padding, dtype=torch.int64)], 2).reshape(pack, frames * n),
        atoms=torch.cat([torch.ones(pack, frames, atoms), torch.zeros(pack, frames, padding)], 2)
        .to(x.dtype)
        .reshape(pack, frames * n),
    )
