"""Molecules in thermal motion, labelled by GFN2-xTB: generated once, cached, and equal for equal settings.

Independent walkers each sample exp(−U/kT), by proposals of a surrogate fitted to their frames
(`experiments.data.sampling.nested`), or by Langevin dynamics (`experiments.data.sampling.sampler`) if there is none and
in a periodic box. A pilot measures the autocorrelation time of the slowest of energy and dihedrals (as cosine and sine)
in links of the chain, which are proposals or steps; frames are five such times apart or more. Test frames, holdout and
pool come from different walkers, so no test frame continues a training trajectory.
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
from typing import Any, ClassVar

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
from experiments.data.sampling.walkers import Walk
from experiments.data.sources.extxyz import read_frames, write_frames

logger = logging.getLogger(__name__)

NUMERICS_VERSION = 2  # raise it whenever the same settings give different frames: old ones are then not read
_PILOT_TIMES = 50  # a walker's pilot is doubled until it is this many autocorrelation times long …
_PILOT_DOUBLINGS = 5  # … at most so often; then a warning says that it is too short
_PROPOSAL = 25
"""Number of steps that a proposal counts as in `warm_up` and `pilot`: it costs a quarter and decorrelates more."""
_POOR = 0.05
"""Share of accepted proposals below which a surrogate is of little use."""


@dataclass(frozen=True)
class XtbConfig:
    """Any molecule, in thermal motion, labelled by GFN2-xTB: generated once on this machine and cached.

    data=molecule data.molecule=NAME|FILE.xyz
    """

    source: ClassVar[str] = "xtb"
    kind: ClassVar[str] = "molecules"
    periodic: ClassVar[str] = "copies"
    tests_vary: ClassVar[str] = "temperature"

    molecule: str = setting(identity=False)  # the identity holds its geometry instead
    """A common name (ethanol), a name of ASE's collection (CH3CH2OH), or an .xyz file."""
    charge: int = setting(0)
    """Total charge in e."""
    temperature: float = setting(500.0, above=0)
    """Temperature in K."""
    timestep: float = setting(1.0, above=0, high=5)
    """Time step in fs."""
    friction: float = setting(0.1, above=0)
    """Friction of the Langevin dynamics in 1/fs; so strong that a vibration forgets its energy within 10 fs."""
    hydrogen_mass: float | None = setting(None, above=0, high=50, since=2)
    """Mass of hydrogen in the dynamics in u; null: 1.008. Positions do not depend on masses; heavy ones allow 2 fs."""
    torsion_every: int = setting(2, low=0)
    """Steps between Metropolis moves that rotate a bond by a random angle; 0: never."""
    surrogate: int = setting(192, low=0)
    """Frames to fit a cheap potential to, whose proposals xTB accepts or rejects; 0: Langevin dynamics alone."""
    stride: float = setting(5.0, above=0)
    """Distance of frames in autocorrelation times of the slowest of energy and dihedrals."""
    warm_up: int = setting(500, low=0)
    """Steps of a walker before anything counts (a proposal counts as 25)."""
    pilot: int = setting(2000, low=500)
    """Steps of a walker to measure the autocorrelation times on; doubled while too short."""
    pool: int = setting(1280, low=1)
    """Frames to draw training subsets from."""
    holdout: int = setting(64, low=1)
    """Frames of the validation set; never trained on."""
    test: int = setting(400, low=1)
    """Frames of the test set, from walkers of their own."""
    walkers: int = setting(16, low=3)
    """Independent chains that share the work."""
    seed: int = setting(0, low=0)
    """Seed of the chains."""
    disjoint_seeds: int = setting(5, low=1)
    method: str = setting("GFN2-xTB", choices=("GFN2-xTB", "GFN1-xTB"), since=2)
    """Method of the labels and of the dynamics."""
    copies: int = setting(1, low=1, high=256, since=2)
    """Number of molecules; more than one: a periodic box of them, without torsion moves and surrogate."""
    density: float = setting(1.0, above=0, high=25, since=2)
    """Density of the box in g/cm³."""
    tests: Mapping[str, float | str] | None = setting(None, identity=False)
    """Further test sets, {NAME: KELVIN, …}, generated at other temperatures, or {NAME: FILE, …} of extended XYZ in eV
    and eV/Å: each has its own errors and curves."""
    workers: int | None = setting(None, low=1, identity=False)
    cache: str | None = setting(None, identity=False)


def xtb(config: XtbConfig) -> Dataset:
    """Load the dataset of `config` from the cache; if it is not there, generate it or wait for a process that does.

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
    """Return the cache directory of these settings: a readable name and a hash of all that decides the content."""
    content = {
        **identity_of(config),
        "geometry": _geometry(molecule),
        "tblite": importlib.metadata.version("tblite"),
        "numerics_version": NUMERICS_VERSION,
    }
    return cache_root(config.cache) / f"{_name(config)}-{files.json_digest(content)}"


def deal(config: XtbConfig) -> dict[str, list[int]]:
    """Return the number of frames of every walker, by part; parts get walkers in proportion to their frames."""
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
    files.remove_temporary(directory)
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
    done = walkers.read_walks(directory, len(counts))
    assert [len(walk.energies) for walk in done] == counts
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
    files.write_json(directory / "metadata.json", metadata)  # last: it marks the dataset as complete
    for leftover in [
        *(path for stage in ("walker_", "explored_", "refined", "surrogate_") for path in directory.glob(f"{stage}*")),
        directory / "settings.json",
        directory / "prepared.json",
        directory / "pilot.json",
    ]:
        leftover.unlink(missing_ok=True)


def _learn(crew: walkers.Crew, directory: Path, frames: int, count: int) -> None:
    """Fit the surrogate to `frames` frames: half from dynamics, half chosen from its own trials in `ROUNDS` rounds."""
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
    """Measure autocorrelation times on pilots, doubled until they are long enough, and choose the stride.

    The result is saved, so that an interrupted generation continues with the same stride.
    """
    path = directory / "pilot.json"
    known = files.read_json(path)
    if known is not None:
        return dict(known)
    link, block = (_PROPOSAL, walkers.NESTED_BLOCK) if nested else (1, walkers.BLOCK)
    warm_up, links = (-(-steps // (link * block)) * block for steps in (config.warm_up, config.pilot))
    for doubling in range(_PILOT_DOUBLINGS + 1):
        crew.run("pilot", [(w, warm_up, links) for w in range(count)], steps=count * (warm_up + links))
        walks = walkers.read_walks(directory, count)
        observed = np.stack([walk.observed[:links] for walk in walks])  # [walkers, links, observables]
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
        # one standard error is added, so that an underestimated tau does not make the stride too short
        "stride_steps": int(np.ceil(config.stride * (tau + error))),
        "temperature_check_K": {name: _temperature(observed[:, :, 1 + k]) for k, name in enumerate(checks)},
    }
    files.write_json(path, known)
    return known


def _memory(observed: Floats, checks: int) -> dict[str, dict[str, float]]:
    """Return autocorrelation times of the energy and of the dihedrals, whose columns follow `checks` others."""
    times = {}
    for k in (0, *range(1 + checks, observed.shape[2])):
        dihedral = k - 1 - checks
        name = "energy" if k == 0 else f"{('cos', 'sin')[dihedral % 2]}_torsion_{dihedral // 2}"
        memory = autocorrelation_time(observed[:, :, k])
        times[name] = {"tau_steps": memory.tau, "tau_error_steps": memory.error, "mean": memory.mean}
    return times


def _temperature(series: Floats) -> dict[str, float]:
    """Return mean and standard error of a temperature in the pilot, to compare with the bath's."""
    memory = autocorrelation_time(series)
    return {"mean": memory.mean, "error": float(series.std() * np.sqrt(2 * memory.tau / series.size))}


def _checks(walks: list[Walk], nested: bool) -> dict[str, Any]:
    """Return checks of the frames: the correlation of successive frames' energies, and the share of accepted moves."""
    mean = np.concatenate([walk.energies for walk in walks]).mean()
    pairs = np.concatenate([np.stack([p.energies[:-1], p.energies[1:]], 1) for p in walks]) - mean
    tried, accepted = (sum(getattr(p.state, name) for p in walks) for name in ("tried", "accepted"))
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
        raise InputError(f"{error}; delete {directory} to generate it again") from None
    for name, frames in sets.items():
        if metadata is None or frames.sha256() != metadata["sha256"][name]:
            path = f"{directory / name}.xyz"
            raise InputError(f"{path}: changed since it was generated; delete {directory} to generate it again")
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


def _frames(molecule: Molecule, walks: list[Walk]) -> Frames:
    positions = np.concatenate([walk.positions for walk in walks])
    count = len(positions)
    return Frames(
        numbers=np.tile(molecule.numbers, (count, 1)),
        positions=positions,
        energies=np.concatenate([walk.energies for walk in walks]),
        forces=np.concatenate([walk.forces for walk in walks]),
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


load = xtb
