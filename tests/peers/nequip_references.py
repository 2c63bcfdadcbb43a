"""Writes tests/experiments/models/references/nequip-*.safetensors: what the nequip package (≥ 0.7) itself computes.

`make peers-references` runs it in the environment of `make peers`. Each file holds random weights under the
package's names, a molecule (positions in Å, species, which share the layout of the tests' clusters), atomic energies
and forces of that network in float64, and the arguments of its builder as text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "models" / "references"
CUTOFF = 3.0
TYPES = ["O", "H", "C"]
"""Not in the order of atomic numbers: a user's order."""
CASES: dict[str, dict[str, Any]] = {
    **{
        f"L{L}{'' if parity else '-natural'}": {"l_max": L, "parity": parity, "num_layers": 4 if L == 1 else 3}
        for L in range(4)
        for parity in (True, False)
    },
    # scales and shifts of elements, a trainable basis, a deeper radial network, another embedding
    "scales": {
        "l_max": 1, "parity": True, "num_layers": 2, "bessel_trainable": True, "radial_mlp_depth": 2,
        "type_embed_num_features": 2, "per_type_energy_scales": {"H": 1.2, "C": 0.7, "O": 1.9},
        "per_type_energy_shifts": {"H": -0.6, "C": -1.1, "O": -2.3},
    },
}  # fmt: skip


def main() -> None:
    """See the module's text."""
    set_global_state()
    for name, case in CASES.items():
        settings = {
            "seed": len(name) + 10 * case["l_max"], "model_dtype": "float64", "type_names": TYPES, "r_max": CUTOFF,
            "num_features": 3, "num_bessels": 4, "polynomial_cutoff_p": 6, "radial_mlp_width": 5,
            "avg_num_neighbors": 4.1, "per_type_energy_scales": 1.3, "per_type_energy_shifts": 0.2, **case,
        }  # fmt: skip
        torch.manual_seed(settings["seed"])
        network = NequIPGNNModel(**settings)
        with torch.no_grad():  # away from n·π, which a fixed basis would have too
            for key, value in network.named_parameters():
                if key.endswith("bessel_weights"):
                    value.add_(0.02 * torch.randn_like(value))
        grid = torch.stack(torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij"), -1).reshape(-1, 3)[:6]
        x = 1.3 * grid + 0.5 * torch.rand(6, 3)
        kinds = torch.tensor([0, 1, 2, 0, 1, 1])
        far = torch.cdist(x, x)
        receivers, senders = torch.where((far < CUTOFF) & (far > 0))
        out = network(
            {
                AtomicDataDict.POSITIONS_KEY: x,
                AtomicDataDict.EDGE_INDEX_KEY: torch.stack([receivers, senders]),
                AtomicDataDict.ATOM_TYPE_KEY: kinds,
            }
        )
        tensors = {
            f"weight/{key}": value.detach().clone().contiguous()
            for key, value in network.state_dict().items()
            if value.numel() and not key.endswith("output_mask")
        }
        tensors |= {"positions": x.detach().clone(), "species": kinds}
        tensors["energies"] = out[AtomicDataDict.PER_ATOM_ENERGY_KEY].detach()[:, 0].clone()
        tensors["forces"] = out[AtomicDataDict.FORCE_KEY].detach().clone()
        settings["_target_"] = "nequip.model.NequIPGNNModel"
        path = FOLDER / f"nequip-{name}.safetensors"
        save_file(tensors, path, {"settings": json.dumps(settings)})
        path.chmod(0o644)  # as other files of a checkout


if __name__ == "__main__":
    main()
