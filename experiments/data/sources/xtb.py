"""Molecules in thermal motion, labelled by GFN2-xTB: generated here once, kept, and the same for the same settings.

Independent walkers each sample exp(−U/kT): by proposals of a surrogate that learned from them
(`experiments.data.sampling.nested`), or by Langevin dynamics (`experiments.data.sampling.sampler`) without
one and in a periodic box. A pilot measures how many links of the chain, proposals or steps, the slowest of the energy
and the dihedrals (as cosine and sine) remembers; frames are five such times apart or more.
Test frames, holdout and pool come from different walkers, so no test frame continues a training trajectory.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from experiments.core import files
from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.leases import exclusive
from experiments.core.schema import identity_of, setting
from experiments.data.dataset import Dataset, Frames
from experiments.data.download import cache_root
from experiments.data.offline import require_download
from experiments.data.sampling import walkers
from experiments.data.sampling.molecule import Molecule, find_molecule, liquid
from experiments.data.sampling.sampler import autocorrelation_time
from experiments.data.sampling.surrogate import most_frames
from experiments.data.sampling.walkers import Part
from experiments.data.sources.extxyz import read_frames, write_frames

logger = logging.getLogger(__name__)

NUMERICS_VERSION = 2  # raise it whenever the same settings give different frames: old ones are then not taken for new
_PILOT_TIMES = 50  # a walker's pilot is at least this many autocorrelation times long …
_PILOT_DOUBLINGS = 5  # … or this often doubled, and then said to be too short
_PROPOSAL = 25
"""Steps that a proposal counts as in `warm_up` and `pilot`: it costs a quarter of them and decorrelates more."""
_POOR = 0.05
"""Proposals accepted, below which a surrogate is of little use."""


@dataclass(frozen=True)
class XtbConfig:
    """`molecule`: a name or an .xyz file; `charge` in e; `temperature` in K; `timestep` in fs; `friction`
    in 1/fs; `hydrogen_mass` in u in the dynamics (None: the true one; positions do not depend on it); a torsion
    move every `torsion_every` steps (0: never); `surrogate`: frames that proposals are learned from (0: Langevin
    dynamics alone); `stride` in autocorrelation times; `warm_up` and `pilot` in steps of a walker (25 to a
    proposal); `pool`, `holdout`, `test` in frames, dealt out to the `walkers`; `method`; with `copies` > 1
    a periodic box of as many molecules at `density` in g/cm³, where no torsions are turned and no surrogate serves.
    `workers` processes (None: one a core) and the `cache` directory (None: EQUILAW_DATA, else ~/.cache/equilaw) do
    not change the frames.
    """

    molecule: str = setting("ethanol", identity=False)  # the geometry it stands for is in the identity instead
    charge: int = setting(0)
    temperature: float = setting(500.0, above=0)
    timestep: float = setting(1.0, above=0, high=5)
    friction: float = setting(0.1, above=0)
    hydrogen_mass: float | None = setting(None, above=0, high=50, since=2)
    torsion_every: int = setting(2, low=0)
    surrogate: int = setting(192, low=0)
    stride: float = setting(5.0, above=0)
    warm_up: int = setting(500, low=0)
    pilot: int = setting(2000, low=500)
    pool: int = setting(1280, low=1)
    holdout: int = setting(64, low=1)
    test: int = setting(400, low=1)
    walkers: int = setting(16, low=3)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)
    method: str = setting("GFN2-xTB", choices=("GFN2-xTB", "GFN1-xTB"), since=2)
    copies: int = setting(1, low=1, high=256, since=2)
    density: float = setting(1.0, above=0, high=25, since=2)
    workers: int | None = setting(None, low=1, identity=False)
    cache: str | None = setting(None, identity=False)


def xtb(config: XtbConfig) -> Dataset:
    """The dataset of `config`: read if it is there, else generated, by this process or by one that got there first.

    Raises `InputError` for a molecule that is unknown, that xTB cannot compute or that breaks at this temperature,
    and for a cache directory that cannot be written to or holds a damaged dataset.
    """
    molecule = find_molecule(config.molecule, config.charge)
    if config.copies > 1:
        molecule = liquid(molecule, config.copies, config.density, config.seed)
    directory = directory_of(config, molecule)
    if not (directory / "metadata.json").exists():
        require_download(_name(config), "generated")
        files.writable(directory, "data.cache" if config.cache else "EQUILAW_DATA")
        waiting = functools.partial(logger.info, "another process generates %s; waiting for it", directory)
        with exclusive(directory / ".lock", waiting=waiting):
            if not (directory / "metadata.json").exists():
                _generate(config, molecule, directory)
    return _read(config, directory)


def directory_of(config: XtbConfig, molecule: Molecule) -> Path:
    """Where the frames of these settings are kept: a readable name and a hash of all that decides the content."""
    content = {
        **identity_of(config),
        "geometry": _geometry(molecule),
        "tblite": importlib.metadata.version("tblite"),
        "numerics_version": NUMERICS_VERSION,
    }
    return cache_root(config.cache) / f"{_name(config)}-{files.json_digest(content)}"


def deal(config: XtbConfig) -> dict[str, list[int]]:
    """Frames of every walker, by set: walkers in proportion to the set's frames, at least one each."""
    sizes = {"test": config.test, "holdout": config.holdout, "pool": config.pool}
    left = config.walkers
    shares: dict[str, int] = {}
    for name in ("test", "holdout"):
        fair = round(config.walkers * sizes[name] / sum(sizes.values()))
        shares[name] = max(1, min(fair, sizes[name], left - (len(sizes) - 1 - len(shares))))
        left -= shares[name]
    shares["pool"] = min(left, config.pool)
    return {name: [len(part) for part in np.array_split(np.arange(sizes[name]), shares[name])] for name in shares}


def _generate(config: XtbConfig, molecule: Molecule, directory: Path) -> None:
    atoms = len(molecule.numbers)
    learned = min(config.surrogate, most_frames(atoms)) if molecule.cell is None and atoms > 1 else 0
    files.remove_asides(directory)
    files.write_json(
        directory / "settings.json",
        {
            **identity_of(config),
            "molecule": config.molecule,
            "method": config.method,
            "geometry": _geometry(molecule),
            "surrogate_frames": learned,
            "numerics_version": NUMERICS_VERSION,
        },
    )
    shares = deal(config)
    counts = [count for name in shares for count in shares[name]]
    logger.info("generating %s with %s in %s", _name(config), config.method, directory)
    with walkers.Crew(directory, config.workers, config.molecule) as crew:
        if not (directory / "prepared.json").exists():
            crew.run("prepare", [()], steps=0)
        if learned:
            _learn(crew, directory, learned, len(counts))
        pilot = _pilot(config, crew, directory, len(counts), learned > 0)
        stride = int(pilot["stride_steps"])
        crew.run("frames", [(w, count, stride) for w, count in enumerate(counts)], steps=stride * sum(counts))
    done = walkers.parts(directory, len(counts))
    assert [len(part.energies) for part in done] == counts
    first, digests = 0, {}
    for name, dealt in shares.items():
        frames = _frames(molecule, done[first : first + len(dealt)])
        write_frames(directory / f"{name}.xyz", frames)
        digests[name] = frames.sha256()
        first += len(dealt)
    prepared = json.loads((directory / "prepared.json").read_text())
    metadata = {
        **identity_of(config),
        "method": config.method,
        "molecule": config.molecule,
        "units": "energies eV, forces eV/Å, temperature K, timestep fs, friction 1/fs",
        "tblite": prepared["tblite"],
        "isolated_energies_eV": prepared["isolated_energies_eV"],
        "minimum_energy_eV": prepared["energy_eV"],
        "frames_by_walker": shares,
        **pilot,
        **_checks(done, learned > 0),
        **({"surrogate": files.read_json(directory / f"surrogate_{walkers.ROUNDS + 1}.json")} if learned else {}),
        "sha256": digests,
        "numerics_version": NUMERICS_VERSION,
    }
    files.write_json(directory / "metadata.json", metadata)  # last: it makes the dataset whole
    for leftover in [
        *(path for stage in ("walker_", "explored_", "refined", "surrogate_") for path in directory.glob(f"{stage}*")),
        directory / "settings.json",
        directory / "prepared.json",
        directory / "pilot.json",
    ]:
        leftover.unlink(missing_ok=True)


def _learn(crew: walkers.Crew, directory: Path, frames: int, count: int) -> None:
    """The surrogate, from as many frames: half explored by dynamics, half chosen from what it then tries out."""
    each, chosen = max(1, frames // (2 * count)), frames // (2 * walkers.ROUNDS)
    steps = walkers.SETTLE + (each - 1) * walkers.SPACING
    if not (directory / "surrogate_1.json").exists():
        crew.run("explore", [(w, each) for w in range(count)], count * steps)
        crew.run("fit", [(count, 1, chosen)], 0)
    tries = max(3, 2 * chosen // count)
    for version in range(1, walkers.ROUNDS + 1):
        if not (directory / f"surrogate_{version + 1}.json").exists():
            crew.run("refine", [(w, version, tries) for w in range(count)], count * tries)
            crew.run("fit", [(count, version + 1, chosen)], 0)


def _pilot(config: XtbConfig, crew: walkers.Crew, directory: Path, count: int, nested: bool) -> dict[str, Any]:
    """The stride, from pilots that are long against the memory that they find; kept, so that it is found once."""
    path = directory / "pilot.json"
    known = files.read_json(path)
    if known is not None:
        return dict(known)
    link, block = (_PROPOSAL, walkers.NESTED_BLOCK) if nested else (1, walkers.BLOCK)
    warm_up, links = (-(-steps // (link * block)) * block for steps in (config.warm_up, config.pilot))
    for doubling in range(_PILOT_DOUBLINGS + 1):
        crew.run("pilot", [(w, warm_up, links) for w in range(count)], steps=count * (warm_up + links))
        parts = walkers.parts(directory, count)
        observed = np.stack([part.observed[:links] for part in parts])  # [walkers, links, observables]
        checks = ("bonds",) if nested else ("kinetic", "bonds")
        times = _memory(observed, len(checks))
        slowest = max(times, key=lambda name: times[name]["tau_steps"])
        tau, error = times[slowest]["tau_steps"], times[slowest]["tau_error_steps"]
        if _PILOT_TIMES * tau <= links:
            break
        if doubling < _PILOT_DOUBLINGS:
            links *= 2
    converged = _PILOT_TIMES * tau <= links
    if not converged:
        logger.warning(
            "%s: after %d %s a walker the autocorrelation time of %s is still %.0f of them: too long to be measured "
            "well, so frames may be correlated (data.torsion_every, data.pilot, data.surrogate)",
            _name(config), links, "proposals" if nested else "steps", slowest, tau,
        )  # fmt: skip
    known = {
        "autocorrelation": times,
        "slowest": slowest,
        "sampler": "nested" if nested else "langevin",
        "pilot_steps_by_walker": links,
        "pilot_converged": converged,
        # one standard error is added, so that the stride is no shorter than asked for where tau came out low
        "stride_steps": int(np.ceil(config.stride * (tau + error))),
        "temperature_check_K": {name: _temperature(observed[:, :, 1 + k]) for k, name in enumerate(checks)},
    }
    files.write_json(path, known)
    return known


def _memory(observed: Floats, checks: int) -> dict[str, dict[str, float]]:
    """Of the energy and, after as many `checks`, of the dihedrals."""
    times = {}
    for k in (0, *range(1 + checks, observed.shape[2])):
        dihedral = k - 1 - checks
        name = "energy" if k == 0 else f"{('cos', 'sin')[dihedral % 2]}_torsion_{dihedral // 2}"
        memory = autocorrelation_time(observed[:, :, k])
        times[name] = {"tau_steps": memory.tau, "tau_error_steps": memory.error, "mean": memory.mean}
    return times


def _temperature(series: Floats) -> dict[str, float]:
    """Mean and standard error of a temperature in the pilot: an estimate of the bath's."""
    memory = autocorrelation_time(series)
    return {"mean": memory.mean, "error": float(series.std() * np.sqrt(2 * memory.tau / series.size))}


def _checks(parts: list[Part], nested: bool) -> dict[str, Any]:
    """What the frames themselves say: correlation of neighbouring frames' energies, moves accepted."""
    mean = np.concatenate([part.energies for part in parts]).mean()
    pairs = np.concatenate([np.stack([p.energies[:-1], p.energies[1:]], 1) for p in parts]) - mean
    tried, accepted = (sum(getattr(p.state, name) for p in parts) for name in ("tried", "accepted"))
    variance = float((pairs**2).mean()) if len(pairs) else 0.0
    share = accepted / tried if tried else None
    if nested and share is not None and share < _POOR:
        logger.warning("only %.1f %% of the surrogate's proposals were accepted (data.surrogate)", 100 * share)
    return {
        "energy_correlation_of_next_frames": float((pairs[:, 0] * pairs[:, 1]).mean() / variance) if variance else None,
        "proposals_accepted" if nested else "torsion_moves_accepted": share,
    }


def _read(config: XtbConfig, directory: Path) -> Dataset:
    metadata = files.read_json(directory / "metadata.json")
    try:
        sets = {name: read_frames(directory / f"{name}.xyz", option=name) for name in ("pool", "holdout", "test")}
    except InputError as error:
        raise InputError(f"{error}; delete {directory} to make it again") from None
    for name, frames in sets.items():
        if metadata is None or frames.sha256() != metadata["sha256"][name]:
            raise InputError(f"{directory / name}.xyz: changed since it was made; delete {directory} to make it again")
    isolated: Mapping[str, float] = metadata["isolated_energies_eV"]
    return Dataset(
        name=_name(config),
        pool=sets["pool"],
        holdout=sets["holdout"],
        test=sets["test"],
        isolated_energies={int(atomic_numbers[symbol]): energy for symbol, energy in isolated.items()},
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "xtb", "directory": str(directory), **metadata},
    )


def _frames(molecule: Molecule, parts: list[Part]) -> Frames:
    positions = np.concatenate([part.positions for part in parts])
    count = len(positions)
    return Frames(
        numbers=np.tile(molecule.numbers, (count, 1)),
        positions=positions,
        energies=np.concatenate([part.energies for part in parts]),
        forces=np.concatenate([part.forces for part in parts]),
        cells=np.zeros((count, 3, 3)) if molecule.cell is None else np.tile(molecule.cell, (count, 1, 1)),
        pbc=np.full((count, 3), molecule.cell is not None),
    )


def _geometry(molecule: Molecule) -> dict[str, Any]:
    cell = {} if molecule.cell is None else {"cell": molecule.cell.tolist()}
    return {
        **cell,
        "numbers": molecule.numbers.tolist(),
        "positions": molecule.positions.tolist(),
        "charge": molecule.charge,
        "unpaired": molecule.unpaired,
    }


def _name(config: XtbConfig) -> str:
    stem = re.sub(
        r"[^A-Za-z0-9_-]+", "_", Path(config.molecule).stem if config.molecule.endswith(".xyz") else config.molecule
    )
    box = f"_{config.copies}" if config.copies > 1 else ""
    kind = "xtb" if config.method == "GFN2-xTB" else "xtb1"
    return f"{kind}_{stem}{box}_{config.temperature:g}K"
