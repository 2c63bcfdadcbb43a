"""Writes tests/experiments/models/references/nequip05-*.safetensors: what the nequip package itself computes.

Run in an environment of its own with nequip 0.5.6 (and its torch_runstats, torch_ema), from the repository's root:

    python tests/peers/nequip05_references.py

Each file holds random weights under the package's names, a molecule (positions in Å, species, which share the layout
of the tests' clusters), atomic energies and forces of that network in float64, and its settings as text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.model._eng import EnergyModel
from safetensors.torch import save_file

FOLDER = Path(__file__).parents[1] / "experiments" / "models" / "references"
CUTOFF, NEIGHBOURS, SPECIES = 3.0, 4.0, 3
CASES: dict[str, tuple[int, int, str, int]] = {
    "L0": (0, 3, "3x0e", 5),
    "L1": (1, 4, "3x0o + 3x0e + 3x1o + 3x1e", 5),
    "L2": (2, 2, "3x0o + 3x0e + 3x1o + 3x1e + 3x2o + 3x2e", 5),
    "L2-natural": (2, 3, "3x0e + 3x1o + 3x2e", 5),
    "L3": (3, 2, "3x0o + 3x0e + 3x1o + 3x1e + 3x2o + 3x2e + 3x3o + 3x3e", 5),
}
"""L, layers, feature_irreps_hidden and channels of the readout."""


def main() -> None:
    """See the module's text."""
    torch.set_default_dtype(torch.float64)
    FOLDER.mkdir(exist_ok=True)
    for name, (L, layers, hidden, readout) in CASES.items():
        torch.manual_seed(len(name) + 10 * L)
        settings: dict[str, Any] = {
            "r_max": CUTOFF, "num_layers": layers, "chemical_embedding_irreps_out": "3x0e",
            "feature_irreps_hidden": hidden,
            "irreps_edge_sh": " + ".join(f"{degree}{'eo'[degree % 2]}" for degree in range(L + 1)),
            "conv_to_output_hidden_irreps_out": f"{readout}x0e", "nonlinearity_type": "gate",
            "nonlinearity_scalars": {"e": "silu", "o": "tanh"}, "nonlinearity_gates": {"e": "silu", "o": "tanh"},
            "resnet": False, "num_basis": 4, "BesselBasis_trainable": True, "PolynomialCutoff_p": 6,
            "invariant_layers": 2, "invariant_neurons": 5, "avg_num_neighbors": NEIGHBOURS, "use_sc": True,
            "num_types": SPECIES, "type_names": ["H", "C", "O"],
        }  # fmt: skip
        network = EnergyModel(dict(settings), initialize=False)
        with torch.no_grad():  # away from n·π, which a fixed basis would have too
            bessel = dict(network.named_parameters())["radial_basis.basis.bessel_weights"]
            bessel.add_(0.05 * torch.randn_like(bessel))
        grid = torch.stack(torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij"), -1).reshape(-1, 3)[:6]
        x = (1.3 * grid + 0.5 * torch.rand(6, 3)).requires_grad_(True)
        kinds = torch.tensor([0, 1, 2, 0, 0, 1])
        far = torch.cdist(x.detach(), x.detach())
        receivers, senders = torch.where((far < CUTOFF) & (far > 0))
        out = network(
            {
                AtomicDataDict.POSITIONS_KEY: x,
                AtomicDataDict.EDGE_INDEX_KEY: torch.stack([receivers, senders]),
                AtomicDataDict.ATOM_TYPE_KEY: kinds[:, None],
            }
        )
        energies = out[AtomicDataDict.PER_ATOM_ENERGY_KEY][:, 0]
        (gradient,) = torch.autograd.grad(energies.sum(), x)
        tensors = {f"weight/{key}": value.detach().clone() for key, value in network.named_parameters()}
        tensors |= {"positions": x.detach().clone(), "species": kinds, "forces": -gradient.clone()}
        tensors["energies"] = energies.detach().clone()
        save_file(tensors, FOLDER / f"nequip05-{name}.safetensors", {"settings": json.dumps({"L": L, **settings})})


if __name__ == "__main__":
    main()
