"""Generated frames: labels are xTB's, the physics is thermal, and the cache is complete and reproducible."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.units import kB
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.data.sampling.molecule import bonds, find_molecule, liquid, torsions
from experiments.data.sampling.sampler import dihedral
from experiments.data.sampling.walkers import ROUNDS, Walk, walk_path
from experiments.data.sampling.xtb_walker import LABEL_ACCURACY, Worker, xtb_potential
from experiments.data.sources.xtb import XtbConfig, deal, directory_of, xtb

ROOT = Path(__file__).parents[4]
WATER = XtbConfig(
    molecule="water", surrogate=24, pool=6, holdout=2, test=3, walkers=4, warm_up=250, pilot=500, workers=2
)
METHANOL = XtbConfig(molecule="methanol", pool=60, holdout=10, test=30, walkers=6, pilot=1000, workers=2)


@pytest.fixture(scope="module")
def methanol(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return xtb(replace(METHANOL, surrogate=96, cache=str(tmp_path_factory.mktemp("nested"))))


@pytest.fixture(scope="module")
def methanol_by_dynamics(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return xtb(replace(METHANOL, surrogate=0, cache=str(tmp_path_factory.mktemp("langevin"))))


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return xtb(replace(WATER, cache=str(tmp_path_factory.mktemp("water"))))


def test_labels_are_those_of_the_ase_calculator(methanol: Dataset) -> None:
    from tblite.ase import TBLite

    frames = methanol.test
    calculator = TBLite(method="GFN2-xTB", accuracy=LABEL_ACCURACY, verbosity=0, cache_api=False)
    for f in range(0, len(frames), 10):
        atoms = ase.Atoms(frames.numbers[f], frames.positions[f], calculator=calculator)
        # two conversions of Å to bohr and the self-consistency at this accuracy: 1e-6 eV/Å measured
        assert atoms.get_potential_energy() == pytest.approx(frames.energies[f], abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), frames.forces[f], atol=1e-5)


def test_forces_are_minus_the_gradient(methanol: Dataset) -> None:
    frames = methanol.pool
    potential = xtb_potential(frames.numbers[0], 0, 0, LABEL_ACCURACY)
    rng = np.random.default_rng(0)
    for f in range(0, len(frames), 20):
        way = rng.standard_normal(frames.positions[f].shape)
        step = 1e-3  # Å; error step² × third derivative (~10³ eV/Å³ along 4 Å of displacement in 18 dimensions) ~ 1e-3
        up, down = (potential(frames.positions[f] + s * step * way, None)[0] for s in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(-float((frames.forces[f] * way).sum()), abs=3e-3)


def energies_of(dataset: Dataset) -> Floats:
    return np.concatenate([part.energies for part in (dataset.pool, dataset.holdout, dataset.test)])


@pytest.mark.parametrize("sampler", ["methanol", "methanol_by_dynamics"])
def test_frames_are_thermal(sampler: str, request: pytest.FixtureRequest) -> None:
    dataset: Dataset = request.getfixturevalue(sampler)
    found = dataset.provenance
    bonds = found["temperature_check_K"]["bonds"]
    assert bonds["error"] < 25, "K: tight enough to tell"
    assert abs(bonds["mean"] - 500) < 4.5 * bonds["error"]
    # equipartition, harmonic: 3N − 6 = 12 modes of kT/2 above the minimum; anharmonicity is a few per cent of it,
    # 100 nearly independent frames have a standard error of √(2/12/100) = 4 %
    energies = energies_of(dataset)
    assert energies.mean() - found["minimum_energy_eV"] == pytest.approx(6 * kB * 500, rel=0.2)
    assert energies.std() == pytest.approx(np.sqrt(6) * kB * 500, rel=0.35)


def test_velocities_are_thermal(methanol_by_dynamics: Dataset) -> None:
    """BAOAB's velocities (not its configurations) are cold by (ω dt)²/4 of each mode: 3 % over methanol's at 1 fs."""
    kinetic = methanol_by_dynamics.provenance["temperature_check_K"]["kinetic"]
    assert 0.93 * 500 < kinetic["mean"] < 1.03 * 500


def test_both_samplers_draw_from_one_distribution(methanol: Dataset, methanol_by_dynamics: Dataset) -> None:
    """Energies, and the distances of all pairs that are not kept alike by the methyl group's three hydrogens."""
    assert methanol.provenance["sampler"] == "nested"
    assert methanol_by_dynamics.provenance["sampler"] == "langevin"
    assert methanol.provenance["proposals_accepted"] > 0.5
    first, second = np.triu_indices(6, 1)
    compared = [(energies_of(methanol), energies_of(methanol_by_dynamics))]
    ours, theirs = (
        np.linalg.norm(x[:, first] - x[:, second], axis=2)
        for x in (
            np.concatenate([part.positions for part in (dataset.pool, dataset.holdout, dataset.test)])
            for dataset in (methanol, methanol_by_dynamics)
        )
    )
    compared += list(zip(ours.T, theirs.T, strict=True))
    # 16 comparisons of seeded draws: by chance below 1e-4 / 16 once in 10,000 seeds
    assert min(ks_2samp(a, b).pvalue for a, b in compared) > 1e-4 / 16


def test_frames_turn_about_their_bonds(methanol: Dataset) -> None:
    """Each walker visits all three wells of the methyl group: frozen torsions would leave two of them empty."""
    molecule = find_molecule("methanol")
    (torsion,) = torsions(molecule.numbers, molecule.positions)
    angles = np.array([np.arctan2(*dihedral(x, torsion)[::-1]) for x in methanol.pool.positions])
    wells = np.bincount((np.floor((angles + np.pi) / (2 * np.pi / 3)).astype(int)) % 3, minlength=3)
    # 60 independent frames: 20 ± 3.7 in each third of the circle
    assert wells.min() >= 20 - 4.5 * 3.7


def test_metadata_say_it_all(methanol: Dataset) -> None:
    found = methanol.provenance
    slowest = found["autocorrelation"][found["slowest"]]
    assert {"energy", "cos_torsion_0", "sin_torsion_0"} == set(found["autocorrelation"])
    assert slowest["tau_steps"] == max(memory["tau_steps"] for memory in found["autocorrelation"].values())
    assert found["stride_steps"] >= 5 * slowest["tau_steps"]
    for key in ("method", "tblite", "temperature", "friction", "timestep", "seed", "walkers", "frames_by_walker"):
        assert found[key] is not None
    assert set(found["isolated_energies_eV"]) == {"H", "C", "O"}
    assert methanol.isolated_energies is not None
    # free atoms: H is −0.39 hartree in this method (a one-electron atom: no choice of settings moves it much)
    assert methanol.isolated_energies[1] == pytest.approx(-10.7, abs=0.1)
    binding = methanol.pool.energies.mean() - sum(
        methanol.isolated_energies[z] for z in methanol.pool.numbers[0].tolist()
    )
    assert -40 < binding < -10, "methanol is bound by about 20 to 30 eV"


def test_sets_have_their_sizes_and_no_common_frame(methanol: Dataset) -> None:
    assert (len(methanol.pool), len(methanol.holdout), len(methanol.test)) == (60, 10, 30)
    everything = np.concatenate([part.positions for part in (methanol.pool, methanol.holdout, methanol.test)])
    assert len({frame.tobytes() for frame in everything}) == 100


def test_number_of_workers_does_not_matter(water: Dataset, tmp_path: Path) -> None:
    again = xtb(replace(WATER, workers=1, cache=str(tmp_path)))
    assert again.sha256() == water.sha256()
    assert xtb(replace(WATER, seed=1, cache=str(tmp_path))).sha256() != water.sha256()


def test_kept_and_whole(water: Dataset) -> None:
    directory = Path(water.provenance["directory"])
    assert {path.name for path in directory.iterdir()} <= {
        "pool.xyz",
        "holdout.xyz",
        "test.xyz",
        "metadata.json",
        ".lock-1.json",
    }
    before = {path.name: path.stat().st_mtime_ns for path in directory.glob("*.xyz")}
    assert xtb(replace(WATER, cache=str(directory.parent))).sha256() == water.sha256()
    assert before == {path.name: path.stat().st_mtime_ns for path in directory.glob("*.xyz")}, "read, not made again"


@pytest.mark.parametrize("surrogate_frames", [0, 12])
def test_a_walker_goes_on_as_if_never_stopped(tmp_path: Path, surrogate_frames: int) -> None:
    """A process that is replaced after every frame, against one that does all."""
    settings = {
        "geometry": {"numbers": [8, 1, 1], "positions": find_molecule("water").positions.tolist()}
        | {"charge": 0, "unpaired": 0},
        "molecule": "water", "temperature": 500.0, "timestep": 1.0, "friction": 0.1, "torsion_every": 2, "seed": 3,
        "surrogate_frames": surrogate_frames,
    }  # fmt: skip
    stride, links = (20, 500) if not surrogate_frames else (3, 10)

    def worker(name: str) -> Worker:
        return Worker(tmp_path / name, lambda steps: None)

    for name in ("whole", "pieces"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text(json.dumps(settings))
        worker(name).prepare()
        if surrogate_frames:
            for counts in ((6,),) if name == "whole" else ((2,), (6,)):
                worker(name).explore(0, *counts)
            worker(name).fit(1, 1, 2)
            for version in range(1, ROUNDS + 1):
                for count in (4,) if name == "whole" else (1, 3, 4):
                    worker(name).refine(0, version, count)
                worker(name).fit(1, version + 1, 2)
    whole = worker("whole")
    whole.pilot(0, links // 2, links)
    whole.frames(0, 4, stride)
    for reached in (links // 2, links):
        worker("pieces").pilot(0, links // 2, reached)
    for count in (1, 2, 4):
        worker("pieces").frames(0, count, stride)
    ours, theirs = (Walk.read(walk_path(tmp_path / name, 0)) for name in ("whole", "pieces"))
    assert ours is not None
    assert theirs is not None
    for name in ("observed", "positions", "energies", "forces"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert ours.state.rng == theirs.state.rng


GENERATE = """
import logging, sys
from dataclasses import replace
from experiments.data.sources.xtb import XtbConfig, xtb
logging.basicConfig(level=logging.INFO, format="%(message)s")
if __name__ == "__main__":
    print(xtb(XtbConfig(**eval(sys.argv[1]))).sha256(), flush=True)
"""


def generating(cache: Path) -> subprocess.Popen[str]:
    settings = {**dataclasses.asdict(WATER), "cache": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", GENERATE, repr(settings)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "stage"),
    [(signal.SIGKILL, "explored"), (signal.SIGKILL, "refined2"), (signal.SIGTERM, "walker"), (signal.SIGINT, "walker")],
)
def test_interrupted_generation_goes_on(water: Dataset, tmp_path: Path, end: signal.Signals, stage: str) -> None:
    process = generating(tmp_path)
    directory = directory_of(replace(WATER, cache=str(tmp_path)), find_molecule("water"))
    while process.poll() is None and not walk_path(directory, 0, stage).exists():
        time.sleep(0.01)
    os.kill(process.pid, end)
    process.communicate()
    assert not (directory / "metadata.json").exists(), "the kill came too late to test anything"
    assert xtb(replace(WATER, cache=str(tmp_path))).sha256() == water.sha256()


def test_two_processes_make_it_once(water: Dataset, tmp_path: Path) -> None:
    both = [generating(tmp_path) for _ in range(2)]
    words = [process.communicate() for process in both]
    assert [out.strip() for out, _ in words] == [water.sha256()] * 2, words
    assert sum("generating" in err for _, err in words) == 1, words


def test_masses_do_not_matter(tmp_path: Path) -> None:
    """Heavy hydrogens at twice the time step: the same configurations, further apart in steps or not."""
    plain = replace(WATER, surrogate=0, pool=60, holdout=20, test=20, cache=str(tmp_path))
    heavy = replace(plain, hydrogen_mass=4.0, timestep=2.0)
    ours, theirs = (energies_of(xtb(config)) for config in (heavy, plain))
    assert ks_2samp(ours, theirs).pvalue > 1e-4  # seeded draws: by chance once in 10,000 seeds
    # bit for bit the same would mean that the mass had no effect on the dynamics
    assert not np.array_equal(ours, theirs)


def test_a_damaged_set_is_not_taken_for_whole(water: Dataset, tmp_path: Path) -> None:
    source = Path(water.provenance["directory"])
    copy = tmp_path / source.name
    copy.mkdir()
    for path in source.glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    text = (copy / "pool.xyz").read_text()
    (copy / "pool.xyz").write_text(text[: text.rindex("H ")])
    with pytest.raises(InputError, match=r"truncated.*; delete .* to generate it again"):
        xtb(replace(WATER, cache=str(tmp_path)))
    lines = text.splitlines(keepends=True)
    (copy / "pool.xyz").write_text("".join(lines[: len(lines) // 6 * 5]))  # a whole frame is missing
    with pytest.raises(InputError, match=r"pool\.xyz: changed since it was generated; delete"):
        xtb(replace(WATER, cache=str(tmp_path)))


def test_an_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"data\.cache=.*file"):
        xtb(replace(WATER, cache=str(tmp_path / "file")))


def test_what_xtb_cannot_compute_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "clash.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0\n")
    with pytest.raises(InputError, match=r"data\.molecule=.*clash\.xyz: GFN2-xTB fails on it"):
        xtb(replace(WATER, molecule=str(tmp_path / "clash.xyz"), cache=str(tmp_path)))


def test_a_molecule_that_breaks_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.temperature=30000"):
        xtb(replace(WATER, temperature=30000.0, cache=str(tmp_path)))


def test_the_directory_depends_on_content_only(tmp_path: Path) -> None:
    molecule = find_molecule("water")
    base = directory_of(WATER, molecule)
    assert directory_of(replace(WATER, workers=7), molecule) == base
    assert directory_of(replace(WATER, pool=7), molecule) != base
    assert directory_of(replace(WATER, cache=str(tmp_path)), molecule).parent == tmp_path
    assert base.name.startswith("xtb_water_500K-")


@given(pool=st.integers(1, 2000), holdout=st.integers(1, 100), test=st.integers(1, 500), walkers=st.integers(3, 64))
def test_walkers_are_dealt_out(pool: int, holdout: int, test: int, walkers: int) -> None:
    shares = deal(XtbConfig(molecule="water", pool=pool, holdout=holdout, test=test, walkers=walkers))
    assert {name: sum(share) for name, share in shares.items()} == {"test": test, "holdout": holdout, "pool": pool}
    assert sum(map(len, shares.values())) <= walkers
    assert min(min(share) for share in shares.values()) >= 1


@pytest.mark.parametrize(
    ("pool", "holdout", "test", "walkers"), [(1280, 64, 400, 16), (640, 40, 200, 8), (2560, 64, 400, 64)]
)
def test_no_walker_lags_behind(pool: int, holdout: int, test: int, walkers: int) -> None:
    shares = deal(XtbConfig(molecule="water", pool=pool, holdout=holdout, test=test, walkers=walkers))
    assert max(max(share) for share in shares.values()) <= 1.5 * (pool + holdout + test) / walkers


def test_settings_of_later_leave_older_frames_where_they_are() -> None:
    """The directory's name hashes all that decides the frames: tblite's version among it, so it is taken from there."""
    plain = XtbConfig(molecule="water")
    molecule = find_molecule("water")
    names = {directory_of(config, molecule).name for config in (plain, replace(plain, method="GFN2-xTB", copies=1))}
    assert len(names) == 1
    for other in (replace(plain, method="GFN1-xTB"), replace(plain, copies=2), replace(plain, copies=2, density=0.9)):
        names.add(directory_of(other, molecule).name)
    assert len(names) == 4


@pytest.mark.parametrize("name", ["malonaldehyde", "acetylacetone", "aspirin"])
def test_molecules_of_ours_are_minima_in_one_piece(name: str) -> None:
    molecule = find_molecule(name)
    found = xtb_potential(molecule.numbers, 0, 0, 1.0)(molecule.positions, None)
    assert np.abs(found[1]).max() < 0.05, "eV/Å, far below thermal forces; coordinates are rounded to 1e-6 Å"
    reached = np.linalg.matrix_power(bonds(molecule.numbers, molecule.positions) + np.eye(len(molecule.numbers)), 30)
    assert (reached > 0).all()


@pytest.mark.parametrize("copies", [2, 9])
def test_a_box_has_its_density_and_whole_molecules(copies: int) -> None:
    one = find_molecule("water")
    box = liquid(one, copies, 0.9, seed=1)
    assert box.cell is not None
    grams = copies * 18.015 / 6.02214076e23
    assert grams / (np.linalg.det(box.cell) * 1e-24) == pytest.approx(0.9, rel=1e-4)
    parts = box.positions.reshape(copies, 3, 3)
    expected = np.linalg.norm(one.positions[:, None] - one.positions, axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(parts[:, :, None] - parts[:, None], axis=-1), expected[None].repeat(copies, 0)
    )
    away = parts[:, None, :, None] - parts[:, None].transpose(1, 0, 2, 3)[:, :, None]
    away = away - np.round(away / box.cell[0, 0]) * box.cell[0, 0]
    apart = np.linalg.norm(away, axis=-1)[~np.eye(copies, dtype=bool)]
    assert apart.min() > 0.8, "Å: molecules do not overlap, also across walls"
    assert not np.array_equal(liquid(one, copies, 0.9, seed=2).positions, box.positions)


def test_forces_of_a_periodic_box_are_the_slope_of_its_energy() -> None:
    box = liquid(find_molecule("water"), 2, 1.0, seed=0)
    potential = xtb_potential(box.numbers, 0, 0, LABEL_ACCURACY, "GFN1-xTB", box.cell)
    forces, step = potential(box.positions, None)[1], 1e-3
    for atom, axis in ((0, 0), (4, 2)):
        shift = np.zeros_like(box.positions)
        shift[atom, axis] = step
        ends = [potential(box.positions + sign * shift, None)[0] for sign in (1, -1)]
        # central difference: step²/6 of a third derivative of some 100 eV/Å³, 2e-5, and more near a repulsive wall
        assert -(ends[0] - ends[1]) / (2 * step) == pytest.approx(forces[atom, axis], abs=3e-4)
    assert box.cell is not None
    moved = potential(box.positions + box.cell[0] * (np.arange(6) < 3)[:, None], None)[0]
    # one molecule moved by a lattice vector
    assert moved == pytest.approx(potential(box.positions, None)[0], abs=1e-6)
