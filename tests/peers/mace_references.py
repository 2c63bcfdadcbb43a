"""Writes tests/experiments/models/references/mace-*.safetensors: what mace-torch itself computes.

`make peers-references` runs it in the environment of `make peers`. Each file holds random weights under the
package's names, a molecule (positions in Å, species, which share the layout of the tests' clusters), atomic energies
in eV, with those of isolated atoms, and forces in eV/Å of that network in float64, and its settings as text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from mace import modules
from safetensors.torch import save_file

from experiments.interop.export import export_model

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "models" / "references"
CUTOFF, CHANNELS = 3.0, 2
ELEMENTS = [1, 6, 8]


def network(L: int, nu: int, layers: int, first: str) -> Any:
    """ScaleShiftMACE as `mace_run_train` makes it, with random weights."""
    hidden = " + ".join(f"{CHANNELS}x{degree}{'eo'[degree % 2]}" for degree in range(L + 1))
    return modules.ScaleShiftMACE(
        r_max=CUTOFF, num_bessel=4, num_polynomial_cutoff=5, max_ell=3, num_interactions=layers,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes[first],
        num_elements=len(ELEMENTS), hidden_irreps=o3.Irreps(hidden), MLP_irreps=o3.Irreps("5x0e"),
        atomic_energies=np.array([-0.6, -1.3, -2.1]), avg_num_neighbors=4.3, atomic_numbers=ELEMENTS,
        correlation=nu, gate=torch.nn.functional.silu, radial_MLP=[6, 5], use_reduced_cg=False,
        atomic_inter_scale=1.7, atomic_inter_shift=0.2,
    )  # fmt: skip


def molecule() -> dict[str, Any]:
    """Six atoms of three elements on a jittered lattice, and their edges, both directions."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij"), -1).reshape(-1, 3)[:6]
    x = 1.3 * grid + 0.5 * torch.rand(6, 3)
    kinds = torch.tensor([0, 1, 2, 0, 0, 1])
    far = torch.cdist(x, x)
    senders, receivers = torch.where((far < CUTOFF) & (far > 0))
    return {
        "positions": x,
        "node_attrs": torch.nn.functional.one_hot(kinds, len(ELEMENTS)).to(x.dtype),
        "edge_index": torch.stack([senders, receivers]),
        "shifts": torch.zeros(len(senders), 3),
        "unit_shifts": torch.zeros(len(senders), 3),
        "cell": torch.zeros(3, 3),
        "batch": torch.zeros(6, dtype=torch.int64),
        "ptr": torch.tensor([0, 6]),
        "head": torch.zeros(1, dtype=torch.int64),
        "kinds": kinds,
    }


def main() -> None:
    """See the module's text."""
    torch.set_default_dtype(torch.float64)
    first = "RealAgnosticInteractionBlock"
    cases = {f"L{L}-nu{nu}": (L, nu, 2, first) for L in range(3) for nu in range(1, 4)}
    cases |= {"three-layers": (1, 2, 3, first), "first-residual": (1, 2, 2, "RealAgnosticResidualInteractionBlock")}
    for seed, (name, case) in enumerate(cases.items()):
        torch.manual_seed(seed)
        model = network(*case)
        frame = molecule()
        out = model(frame)
        tensors, settings = export_model(model)
        tensors = {f"weight/{key}": value.contiguous() for key, value in tensors.items()}
        tensors |= {"positions": frame["positions"].detach().clone(), "species": frame["kinds"]}
        tensors |= {"energies": out["node_energy"].detach().clone(), "forces": out["forces"].detach().clone()}
        path = FOLDER / f"mace-{name}.safetensors"
        save_file(tensors, path, {"settings": json.dumps(settings)})
        path.chmod(0o644)  # as other files of a checkout


if __name__ == "__main__":
    main()
