"""Jets of top quarks and of light quarks: events of PYTHIA 8, clustered by FastJet; generated once and cached.

A small version of the reference set of top tagging (Butter et al. 2019, arXiv 1902.09914): proton collisions, jets of
the anti-k_T algorithm, one an event (the hardest) within windows of p_T and |η|; a jet counts as a top's if the three
quarks of one top's decay lie within its radius. An example is the four-momenta of a jet's hardest particles, in GeV. No
detector is simulated, and no further collisions (unless `settings` switch them on).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.leases import exclusive
from experiments.core.schema import identity_of, setting
from experiments.data.download import cache_root
from experiments.data.examples import Examples, ExampleSet
from experiments.data.offline import require_download

logger = logging.getLogger(__name__)
NUMERICS_VERSION = 1  # raise it whenever the same settings give different jets: old ones are then not read
PARTS = 20
"""Independent streams of PYTHIA for each kind of jet, whatever the number of processes."""
BATCH = 50
"""Events clustered at a time."""


@dataclass(frozen=True)
class JetsConfig:
    """Settings of the jets.

    `settings`, `top` and `light`: lines for PYTHIA, for both kinds of jets and for each; `radius` of jets; windows of
    the transverse momentum `pt` (GeV) and of |η|; `particles`: number in an example, hardest first; the rest counts
    jets. `workers` processes and the `cache` directory do not change the jets.
    """

    source: ClassVar[str] = "jets"
    kind: ClassVar[str] = "momenta"

    settings: tuple[str, ...] = setting((
        "Beams:eCM = 14000.", "PartonLevel:MPI = off", "PhaseSpace:pTHatMin = 540.", "PhaseSpace:pTHatMax = 700.",
    ))  # fmt: skip
    top: tuple[str, ...] = setting((
        "Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off", "24:onIfAny = 1 2 3 4 5",
    ))  # fmt: skip
    light: tuple[str, ...] = setting(("HardQCD:qq2qq = on",))
    radius: float = setting(0.8, above=0.0, high=2.0)
    pt: tuple[float, ...] = setting((550.0, 650.0), above=0.0)
    eta: float = setting(2.0, above=0.0)
    particles: int = setting(24, low=1, high=200)
    pool: int = setting(12000, low=1)
    holdout: int = setting(500, low=1)
    test: int = setting(4000, low=1)
    seed: int = setting(0, low=0, high=10_000)
    disjoint_seeds: int = setting(5, low=1)
    workers: int | None = setting(None, low=1, identity=False)
    cache: str | None = setting(None, identity=False)

    def __post_init__(self) -> None:
        if len(self.pt) != 2 or self.pt[0] >= self.pt[1]:
            raise InputError(f"pt={list(self.pt)}: accepted: a smallest and a largest transverse momentum in GeV")


def jets(config: JetsConfig) -> ExampleSet:
    """Load the dataset of `config` from the cache; generate it if it is not there.

    Raises `InputError` if PYTHIA or FastJet is not installed (a cached dataset does not need them), if PYTHIA does not
    know a line, and if the cache cannot be written to or is damaged.
    """
    directory = directory_of(config)
    if not (directory / "metadata.json").exists():
        require_download("data.source=jets", "generated")
        check_installed()
        files.writable(directory, "data.cache" if config.cache else "EQUILAW_DATA")
        with exclusive(directory / ".lock"):
            if not (directory / "metadata.json").exists():
                _generate(config, directory)
    examples = _read(directory)
    test, holdout, pool = examples.in_order(config.test, config.holdout, config.pool)
    return ExampleSet(
        name="jets",
        kind="momenta",
        test=test,
        holdout=holdout,
        pool=pool,
        n_classes=2,
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "jets", **asdict(config)},
    )


def check_installed() -> None:
    """Raise `InputError` naming what to install, if PYTHIA or FastJet is missing."""
    for name in ("pythia8mc", "fastjet"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"data.source=jets: {name} is missing; pip install --editable '.[jets]'")


def directory_of(config: JetsConfig) -> Path:
    """Return the cache directory of these settings, named by a hash of everything that decides the content."""
    versions = {}
    for name in ("pythia8mc", "fastjet"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    content = {**identity_of(config), "versions": versions, "numerics_version": NUMERICS_VERSION}
    return cache_root(config.cache) / f"jets-{files.json_digest(content)}"


def _generate(config: JetsConfig, directory: Path) -> None:
    """Generate and write both kinds in equal numbers, by parallel streams, in an order drawn from the seed."""
    _pythia(config, 1, 0)  # a wrong line raises here, not in a worker
    total = config.pool + config.holdout + config.test
    counts = [len(part) for kind in np.array_split(np.arange(total), 2) for part in np.array_split(kind, PARTS)]
    tasks = [(config, int(i < PARTS), i % PARTS, count) for i, count in enumerate(counts) if count]
    workers = config.workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
        momenta = np.concatenate(list(pool.map(_part, tasks)))
    labels = np.concatenate([np.full(count, label, np.int64) for _, label, _, count in tasks])
    order = np.random.default_rng(config.seed).permutation(total)
    content = Examples(momenta[order], labels[order])
    files.write_npz(directory / "jets.npz", inputs=content.inputs, labels=content.labels)
    sha256 = content.sha256()
    files.write_json(directory / "metadata.json", {"sha256": sha256, "settings": identity_of(config)})
    logger.info("generated %d jets in %s", total, directory)


def _read(directory: Path) -> Examples:
    expected = files.read_json(directory / "metadata.json")
    try:
        with np.load(directory / "jets.npz", allow_pickle=False) as stored:
            examples = Examples(stored["inputs"], stored["labels"])
        intact = expected is not None and examples.sha256() == expected["sha256"]
    except (OSError, ValueError, KeyError):
        intact = False
    if not intact:
        raise InputError(f"{directory}: the cached jets are damaged; delete the directory to generate them again")
    return examples


def _part(task: tuple[JetsConfig, int, int, int]) -> NDArray[np.float32]:
    """Generate `[count, particles, 4]` of one stream."""
    config, label, part, count = task
    accepted: list[NDArray[np.float32]] = []
    for jet in _jets(config, label, part):
        accepted.append(jet)
        if len(accepted) == count:
            break
    return np.stack(accepted)


def _pythia(config: JetsConfig, label: int, part: int) -> Any:
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    number = 1 + (config.seed * PARTS + part) * 2 + label  # PYTHIA accepts seeds from 1 to 900,000,000
    own = ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {number}")
    for line in (*own, *config.settings, *(config.top if label else config.light)):
        if not pythia.readString(line):
            raise InputError(f"data: {line!r}: PYTHIA does not know this setting; accepted: lines of its manual")
    if not pythia.init():
        raise InputError("data.settings: PYTHIA cannot start with these; accepted: those of conf/data/jets.yaml")
    return pythia


def _jets(config: JetsConfig, label: int, part: int) -> Iterator[NDArray[np.float32]]:
    """Yield particles of accepted jets, `[particles, 4]` (E, p_x, p_y, p_z) each, hardest first, zero-padded."""
    pythia = _pythia(config, label, part)
    while True:
        events, decays = [], []
        for _ in range(BATCH):
            if not pythia.next():
                continue
            # a detector does not see neutrinos
            events.append([(p.px(), p.py(), p.pz(), p.e())
                           for p in pythia.event if p.isFinal() and p.idAbs() not in (12, 14, 16)])  # fmt: skip
            decays.append(_decays(pythia.process) if label else [])
        for jet, quarks in zip(hardest(events, config), decays, strict=True):
            if jet is not None and (not label or any(inside(jet, three, config.radius) for three in quarks)):
                yield _padded(jet, config.particles)


def _decays(process: Any) -> list[NDArray[np.float64]]:
    """Return the directions (η, φ) of the three quarks of each top in a hard process, `[3, 2]` each."""
    tops = []
    for i in range(process.size()):
        if process[i].idAbs() != 6:
            continue
        waiting, quarks = [i], []
        while waiting:
            daughters = process[waiting.pop()].daughterList()
            for j in daughters:
                if process[j].idAbs() < 6:
                    quarks.append((process[j].eta(), process[j].phi()))
                elif process[j].idAbs() in (6, 24):
                    waiting.append(j)
        if len(quarks) == 3:
            tops.append(np.array(quarks))
    return tops


def hardest(events: Sequence[Sequence[tuple[float, ...]]], config: JetsConfig) -> list[NDArray[np.float64] | None]:
    """Cluster events and return the particles `[n, 4]` (E, p_x, p_y, p_z) of each one's hardest jet, in GeV.

    None for an event without a jet, or whose hardest jet lies outside the windows of `config`.

    Args:
        events: particles (p_x, p_y, p_z, E) of each event, in GeV.
        config: radius and windows of the jets.
    """
    import awkward as ak
    import fastjet

    lengths = [len(event) for event in events]
    flat = np.array([particle for event in events for particle in event])
    names = ("px", "py", "pz", "E")
    particles = ak.unflatten(ak.zip({n: flat[:, i] for i, n in enumerate(names)}, with_name="Momentum4D"), lengths)
    clustered = fastjet.ClusterSequence(particles, fastjet.JetDefinition(fastjet.antikt_algorithm, config.radius))
    jets_by_event, members = (part(min_pt=config.pt[0]) for part in (clustered.inclusive_jets, clustered.constituents))
    chosen: list[NDArray[np.float64] | None] = []
    for event, inside_event in zip(jets_by_event, members, strict=True):
        momenta = np.stack([ak.to_numpy(event[name]) for name in names], 1).reshape(-1, 4)
        if len(momenta) == 0:
            chosen.append(None)
            continue
        pts = np.hypot(momenta[:, 0], momenta[:, 1])
        k = int(pts.argmax())
        eta = math.asinh(momenta[k, 2] / pts[k])
        if pts[k] > config.pt[1] or abs(eta) > config.eta:
            chosen.append(None)
            continue
        chosen.append(np.stack([ak.to_numpy(inside_event[k][name]) for name in ("E", "px", "py", "pz")], 1))
    return chosen


def inside(jet: NDArray[np.float64], directions: NDArray[np.float64], radius: float) -> bool:
    """Return whether all `directions` `[n, 2]` (η, φ) lie within `radius` of the jet's axis."""
    _, x, y, z = jet.sum(0)
    eta, phi = math.asinh(z / math.hypot(x, y)), math.atan2(y, x)
    around = np.abs((directions[:, 1] - phi + np.pi) % (2 * np.pi) - np.pi)
    return bool((np.hypot(directions[:, 0] - eta, around) < radius).all())


def _padded(jet: NDArray[np.float64], particles: int) -> NDArray[np.float32]:
    order = np.argsort(-np.hypot(jet[:, 1], jet[:, 2]), kind="stable")[:particles]
    padded = np.zeros((particles, 4), np.float32)
    padded[: len(order)] = jet[order]
    return padded


load = jets
