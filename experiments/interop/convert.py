"""`python -m experiments.interop.convert FILE --out DIR`: a network of mace-torch or nequip, to be used like a
finished run.

FILE is a checkpoint of nequip-train (nequip ≥ 0.7, `….ckpt`), or a model of mace-torch as
`experiments.interop.export` wrote it. Files are read without running code that they name. DIR can then be given to
`python -m experiments.runs.evaluate DIR data=NAME` and to the ASE calculator.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core import command, files
from experiments.core.errors import InputError

if TYPE_CHECKING:
    from experiments.runs.converted import ConvertedNetwork

EXPORT = "experiments.interop.export"


def read(path: Path) -> tuple[ConvertedNetwork, dict[str, str]]:
    """Read the network in a file; return it with its origin (file, digest, package, version).

    Raises:
        InputError: no such file, one that cannot be read without running its code, or a network that ours cannot be.
    """
    import torch

    from experiments.interop import from_mace, from_nequip

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: reading it would run the code that it names; accepted: a checkpoint of nequip-train, and for "
            "a model of mace-torch that you trust, the file that "
            f"`python -m {EXPORT} {path.name} --out FILE.pt` writes where mace-torch is installed"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]})") from None
    source = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    try:
        if "hyper_parameters" in content and "state_dict" in content:
            settings = content["hyper_parameters"]["model"]
            version = content["hyper_parameters"]["info_dict"]["versions"]["nequip"]
            network = from_nequip.converted(from_nequip.averaged(content), settings)
            return network, {"package": "nequip", "version": str(version), **source}
        settings = json.loads(content["settings"])
        network = from_mace.converted(content["tensors"], settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: lacks {error}; accepted: a checkpoint of nequip-train, or a file that {EXPORT} wrote"
        ) from None
    return network, {"package": settings["package"], "version": settings["version"], **source}


def write(network: ConvertedNetwork, source: dict[str, str], directory: Path) -> None:
    """Write the network where `experiments.runs.trained.load` finds it.

    Raises:
        InputError: something is there already, or the directory can't be made.
    """
    from experiments.config.run import jsonable
    from experiments.runs import trained
    from experiments.runs.store import CONVERTED

    if directory.exists():
        raise InputError(f"--out={directory}: is there already; accepted: a new directory")
    files.creatable(directory, "--out")
    (directory / "checkpoint").mkdir(parents=True)
    trained.save_converted(directory, network)
    model: dict[str, Any] = {"architecture": network.config.architecture, **dataclasses.asdict(network.config)}
    files.write_json(directory / CONVERTED, {**source, "precision": network.precision, "model": jsonable(model)})


def main(arguments: list[str] | None = None) -> int:
    """Convert a file; return exit code 0, or 2 after one line about bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.interop.convert", description="Take over a network of mace-torch or nequip."
    )
    parser.add_argument("file", type=command.path, help=f"checkpoint of nequip-train, or a file that {EXPORT} wrote")
    parser.add_argument(
        "--out", type=command.path, required=True, help="directory to make, to be used like a finished run's"
    )
    return command.run(_convert, parser.parse_args(arguments))


def _convert(given: argparse.Namespace) -> None:
    network, source = read(given.file)
    write(network, source, given.out)
    print(f"{given.out}: {source['package']} {source['version']}, {network.precision}: {network.config}")


if __name__ == "__main__":
    sys.exit(main())
