"""Run where mace-torch is installed: write a model as plain tensors and text, without pickled code.

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python -m experiments.interop.export MODEL --out FILE.pt

mace-torch saves whole models as pickles, and reading those runs the code that they name: do it only with files that
you trust. FILE.pt can be read by anybody (`torch.load(weights_only=True)`), and `python -m
experiments.interop.convert` does. It needs nothing of equilaw but this file; the variable lets e3nn 0.4 read its
tables under torch ≥ 2.6.

Coupling tensors U (megabytes, and in a basis that depends on how they were made) are left out. Only the function
a ↦ U(a, …, a) matters; its values at random points determine it, and the file holds those.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def export_model(model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and settings of a model of mace-torch; see the module."""
    import mace
    from mace.tools.scripts_utils import extract_config_mace_model

    extracted = extract_config_mace_model(model)
    if "error" in extracted:
        raise SystemExit(f"{type(model).__name__}: {extracted['error']}; accepted: ScaleShiftMACE")
    settings = {name: jsonable(value) for name, value in extracted.items()}
    settings |= {"package": "mace-torch", "version": mace.__version__, "model": type(model).__name__}
    settings["interactions"] = [type(block).__name__ for block in model.interactions]
    settings["neighbours"] = [float(block.avg_num_neighbors) for block in model.interactions]
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        if ".U_matrix_" in name:
            points, values = sample_couplings(value.double(), int(name.rsplit("_", 1)[1]))
            tensors[name.replace("U_matrix_", "points_")] = points
            tensors[name.replace("U_matrix_", "values_")] = values
        elif value.numel() and "_w3j_" not in name and not name.endswith("output_mask"):
            tensors[name] = value.clone()
    return tensors, settings


def sample_couplings(couplings: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Return points a `[n, M]` and U(a, …, a) `[n, 2l+1, K]` of U `[2l+1] + [M]*order + [K]`.

    For l = 0 U lacks its first axis. There are as many points as determine the function, and some more to check that
    they do.
    """
    import torch

    if couplings.ndim == order + 1:
        couplings = couplings[None]
    components, size, count = couplings.shape[0], couplings.shape[-2], couplings.shape[-1]
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(count + 4, size, generator=generator, dtype=torch.float64)
    values = torch.tensordot(points, couplings.movedim(0, -2), 1)  # [n] + [M]*(order−1) + [2l+1, K]
    for _ in range(order - 1):
        values = torch.einsum("na,na...->n...", points, values)
    # couplings of a float32 model are rounded; singular values of independent ones are far above that
    independent = int(torch.linalg.matrix_rank(values.reshape(-1, count), rtol=1e-5))
    enough = -(-independent // components) + 4
    return points[:enough].clone(), values[:enough].clone()


def jsonable(value: Any) -> Any:
    """Convert a value for JSON; classes and objects that JSON lacks become their name or text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return getattr(value, "__name__", str(value))


def main() -> None:
    """Write the file; see the module."""
    parser = argparse.ArgumentParser(description="Write a model of mace-torch as plain tensors and text.")
    parser.add_argument("model", type=Path, help="a model that mace_run_train has saved (a pickle: only if trusted)")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    import torch  # takes seconds, and no help needs it

    tensors, settings = export_model(torch.load(arguments.model, map_location="cpu", weights_only=False))
    torch.save({"tensors": tensors, "settings": json.dumps(settings)}, arguments.out)


if __name__ == "__main__":
    main()
