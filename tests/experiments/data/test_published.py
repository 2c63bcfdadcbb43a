"""Published datasets from files of their exact formats: units, splits, refusals, and no confusion of editions."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.config.parse import parse
from experiments.config.suits import check_data
from experiments.core.errors import InputError
from experiments.data.__main__ import main
from experiments.data.load import load
from experiments.data.sources import botnet, md17, qm9, rmd17, water
from tests.conftest import MakeConfig
from tests.experiments.data.served import Served, serving
from tests.experiments.finished import finished

EV_PER_KCAL_MOL = 1 / 23.060548  # CODATA, to the digits that are usually quoted
EV_PER_HARTREE, ANGSTROM_PER_BOHR = 27.211386, 0.52917721
ETHANOL = [6, 6, 8, 1, 1, 1, 1, 1, 1]
XYZ = (
    '2\nLattice="50.0 0.0 0.0 0.0 50.0 0.0 0.0 0.0 50.0" Properties=species:S:1:pos:R:3:forces:R:3 energy={e} '
    'dihedrals="_JSON [209.44, 80.54, 59.96]" pbc="F F F"\n'
    "C        0.32656990      -1.01286015       {x:.8f}       0.17092934       0.13274200       0.79555789\n"
    "H       -0.19461567      -1.01286015       1.52107275      -0.17092934      -0.13274200      -0.79555789\n"
)
ATOM = '1\nProperties=species:S:1:pos:R:3 energy={e} pbc="F F F"\n{s} 0.00000000 0.00000000 0.00000000\n'
METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t\
-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 0.0002765748\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 9.063972942*^-1\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Every published address leads here; checksums are those of the real files, so none is expected."""
    with serving() as served:
        for module, name in ((rmd17, "ARCHIVE"), (water, "FILE"), (qm9, "ARCHIVE"), (qm9, "UNCHARACTERIZED")):
            file = getattr(module, name)
            here = replace(file, urls=(f"{served.url}/{Path(file.path).name}",), sha256=None)
            monkeypatch.setattr(module, name, here)
        monkeypatch.setattr(md17, "_FOLDER", served.url)
        monkeypatch.setattr(botnet, "_REPOSITORY", served.url)
        monkeypatch.setattr(botnet, "_SHA256", {})
        yield served


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def ethanol(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A slow trajectory: positions (Å), energies and forces in kcal/mol."""
    rng = np.random.default_rng(seed)
    base = 1.5 * np.arange(27.0).reshape(9, 3) % 4.1
    slow = np.cumsum(rng.standard_normal((count, 9, 3)), axis=0) * 0.003
    return base + slow, -97000 + slow.sum((1, 2)), 20 * rng.standard_normal((count, 9, 3))


def tar(files: Mapping[str, bytes], mode: str = "w:bz2") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def serve_rmd17(server: Served, count: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, e, f = ethanol(0, count)
    order = np.random.default_rng(1).permutation(count)  # published frames come in no order
    old = np.arange(count) * 2 + 7
    data = npz(
        nuclear_charges=np.array(ETHANOL, np.uint8), coords=x[order], energies=e[order], forces=f[order],
        old_indices=old[order], old_energies=e[order] + 1, old_forces=f[order] + 1,
    )  # fmt: skip
    members = {"rmd17/readme.txt": b"hello", "rmd17/npz_data/rmd17_ethanol.npz": data}
    rng = np.random.default_rng(2)
    for fold in range(1, 6):
        train, test = np.split(rng.permutation(count)[:2000], 2)
        for part, index in (("train", train), ("test", test)):
            members[f"rmd17/splits/index_{part}_{fold:02d}.csv"] = "".join(f"{i}\n" for i in index).encode()
    server.content["/rmd17.tar.bz2"] = tar(members)
    return x[order], e[order], f[order], old[order]


def test_rmd17_in_its_published_splits(server: Served, root: Path) -> None:
    x, e, f, _ = serve_rmd17(server)
    seen = []
    for fold in (1, 2):
        dataset = load({"source": "rmd17", "molecule": "ethanol", "fold": fold})
        train, test = (
            np.loadtxt(root / "rmd17" / "splits" / f"index_{part}_{fold:02d}.csv", dtype=int)
            for part in ("train", "test")
        )
        assert dataset.name == "rmd17_ethanol"
        assert dataset.test_set == f"published_{fold}"
        np.testing.assert_array_equal(dataset.test.positions, x[test])
        np.testing.assert_allclose(dataset.test.energies, e[test] * EV_PER_KCAL_MOL, rtol=1e-6)
        np.testing.assert_allclose(dataset.test.forces, f[test] * EV_PER_KCAL_MOL, rtol=1e-6)
        assert (len(dataset.pool), len(dataset.holdout)) == (950, 50)
        trained = np.concatenate([dataset.pool.positions, dataset.holdout.positions])
        assert sorted(trained[:, 0, 0]) == sorted(x[train, 0, 0])
        seen.append(dataset.sha256())
    assert seen[0] != seen[1]
    assert len(server.asked) == 1, "the archive is fetched once for all"


def test_a_molecules_file_alone_will_do_without_published_splits(server: Served, root: Path) -> None:
    """Somebody has one member of the archive: nothing is asked of the network for splits that need no more."""
    serve_rmd17(server)
    section = {"source": "rmd17", "molecule": "ethanol", "split": "random", "pool": 200, "test": 100, "holdout": 20}
    whole = load(section)
    shutil.rmtree(root / "rmd17" / "splits")
    (root / "rmd17" / "rmd17.tar.bz2").unlink()
    server.content.clear()
    assert load(section).sha256() == whole.sha256()
    with pytest.raises(
        InputError, match=r"rmd17\.tar\.bz2 .*rmd17_ethanol\.npz alone will do: data\.split=trajectory or"
    ):
        load({"source": "rmd17", "molecule": "ethanol"})
    with pytest.raises(InputError, match=r"rmd17\.tar\.bz2 (?!.*alone will do)"):  # of this one nothing is there
        load({"source": "rmd17", "molecule": "uracil"})


def test_a_trajectory_is_split_apart_in_time(server: Served) -> None:
    """rMD17's frames come unordered; their places in the trajectory are what counts."""
    x, _, _, old = serve_rmd17(server)
    times = {x[f, 0, 0]: 0.5 * old[f] for f in range(len(x))}
    dataset = load(
        {
            "source": "rmd17",
            "molecule": "ethanol",
            "split": "trajectory",
            "gap": 0.2,
            "pool": 200,
            "test": 100,
            "holdout": 20,
        }
    )
    assert (len(dataset.pool), len(dataset.holdout), len(dataset.test)) == (200, 20, 100)
    pool, holdout, test = (
        np.array([times[value] for value in part.positions[:, 0, 0]])
        for part in (dataset.pool, dataset.holdout, dataset.test)
    )
    gap = dataset.provenance["gap_fs"]
    assert gap == pytest.approx(0.2 * dataset.provenance["correlation_time_fs"])
    assert gap > 10, "these frames remember for longer than a step"
    for one, other in ((pool, test), (holdout, test), (pool, holdout)):
        assert np.abs(one[:, None] - other).min() >= gap


def serve_md17(server: Served, count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, e, f = ethanol(3, count)
    server.content["/md17_ethanol.npz"] = npz(
        z=np.array(ETHANOL, np.uint8),
        R=x,
        E=e[:, None],
        F=f,
        name=np.array(b"ethanol"),
        md5=np.array(b"0"),
        type=np.array(b"d"),
    )
    return x, e, f


def test_md17(server: Served) -> None:
    x, e, _ = serve_md17(server)
    dataset = load({"source": "md17", "molecule": "ethanol", "split": "random", "pool": None, "test": 100})
    assert len(dataset.pool) + len(dataset.holdout) + 100 == len(x)
    place = [int(np.flatnonzero(x[:, 0, 0] == value)[0]) for value in dataset.test.positions[:, 0, 0]]
    np.testing.assert_allclose(dataset.test.energies, e[place] * EV_PER_KCAL_MOL, rtol=1e-6)


def test_old_and_revised_are_never_taken_for_each_other(server: Served, root: Path) -> None:
    serve_md17(server)
    serve_rmd17(server)
    load({"source": "rmd17", "molecule": "ethanol"})
    (root / "md17").mkdir()
    (root / "rmd17" / "npz_data" / "rmd17_ethanol.npz").rename(root / "md17" / "md17_ethanol.npz")
    with pytest.raises(InputError, match=r"no z, R, E, F in it but nuclear_charges, .*the revised MD17"):
        load({"source": "md17", "molecule": "ethanol"})
    (root / "rmd17" / "npz_data" / "rmd17_ethanol.npz").write_bytes(server.content["/md17_ethanol.npz"])
    (root / "rmd17" / "npz_data" / "rmd17_ethanol.npz.sha256.json").unlink()
    with pytest.raises(InputError, match=r"no nuclear_charges, coords, energies, forces in it .*the original MD17"):
        load({"source": "rmd17", "molecule": "ethanol"})


def test_another_molecule_and_half_a_file(server: Served, root: Path) -> None:
    serve_md17(server)
    server.content["/md17_toluene.npz"] = server.content["/md17_ethanol.npz"]
    with pytest.raises(InputError, match=r"holds H6C2O1, not toluene"):
        load({"source": "md17", "molecule": "toluene"})
    server.content["/md17_uracil.npz"] = server.content["/md17_ethanol.npz"][:5000]
    with pytest.raises(InputError, match=r"md17_uracil\.npz: not a complete \.npz file"):
        load({"source": "md17", "molecule": "uracil"})


def botnet_file(seed: int, count: int = 60) -> bytes:
    x = 0.72 + 0.05 * np.random.default_rng(seed).standard_normal(count)
    return "".join(XYZ.format(e=-1042.5 - value, x=value) for value in x).encode()


def serve_botnet(server: Served) -> None:
    at = f"/{botnet._COMMIT}"
    names = ["train_300K", "train_mixedT", "test_300K", "test_600K", "test_1200K", "test_dih"]
    for k, name in enumerate(names):
        server.content[f"{at}/dataset_3BPA/{name}.xyz"] = botnet_file(k)
    for k, name in enumerate(["train_300K", "train_600K", "test_MD_300K", "test_MD_600K"]):
        server.content[f"{at}/dataset_acac/{name}.xyz"] = botnet_file(10 + k)
    without = botnet_file(20).decode().replace(":forces:R:3", "").splitlines()
    without = [" ".join(line.split()[:4]) if line[0] in "CH" else line for line in without]
    for name in ("test_H_transfer", "test_dihedral"):
        server.content[f"{at}/dataset_acac/{name}.xyz"] = ("\n".join(without) + "\n").encode()
    atoms = (ATOM.format(e=-1029.4889999855063, s="C") + ATOM.format(e=-13.587222780835477, s="H")).encode()
    server.content[f"{at}/dataset_3BPA/iso_atoms.xyz"] = server.content[f"{at}/dataset_acac/isolated_atoms.xyz"] = atoms


def test_3bpa_and_acac(server: Served) -> None:
    serve_botnet(server)
    bpa = load({"source": "3bpa", "train": "mixedT", "test": "dih"})
    assert (bpa.name, bpa.test_set, len(bpa.pool), len(bpa.holdout)) == ("3bpa_mixedT", "dih", 10, 50)
    assert bpa.isolated_energies == {6: -1029.4889999855063, 1: -13.587222780835477}
    assert bpa.test.energies[0] == pytest.approx(-1042.5 - bpa.test.positions[0, 0, 2], abs=1e-8)
    assert not bpa.test.pbc.any()
    for test in ("H_transfer", "dihedral"):
        acac = load({"source": "acac", "test": test})
        assert not acac.test.has_forces
        assert acac.pool.has_forces


def test_water_is_converted_from_atomic_units(server: Served) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for f in range(12):
        lines += ["6", f"TotEnergy={-34.475 - 0.001 * f:.8f} cutoff=-1.00000000 nneightol=1.20000000 " 'pbc="T T T" '
                  'Lattice="7.5 0.0 0.0 -0.00000100 7.5 0.0 -0.00000100 -0.00000100 7.5" '
                  "Properties=species:S:1:pos:R:3:force:R:3:Z:I:1"]  # fmt: skip
        for o in (0.0, 3.7):
            for symbol, z, place in (("O", 8, (0, 0, 0)), ("H", 1, (1.8, 0, 0)), ("H", 1, (-0.45, 1.75, 0))):
                x = np.array(place) + o + 0.05 * rng.standard_normal(3)
                numbers = "".join(f"{value:20.8f}" for value in (*x, *(0.02 * rng.standard_normal(3))))
                lines.append(f"{symbol:4}{numbers}{z:8}")
    server.content[f"/{water.FILE.urls[0].rsplit('/', 1)[1]}"] = ("\n".join(lines) + "\n").encode()
    dataset = load({"source": "water", "test": 3, "holdout": 2})
    assert len(dataset.pool) == 7
    assert dataset.pool.pbc.all()
    energies = np.concatenate([dataset.pool.energies, dataset.holdout.energies, dataset.test.energies])
    np.testing.assert_allclose(np.sort(energies)[::-1], (-34.475 - 0.001 * np.arange(12)) * EV_PER_HARTREE, rtol=1e-7)
    assert dataset.pool.cells[0, 0, 0] == pytest.approx(7.5 * ANGSTROM_PER_BOHR)
    assert np.linalg.norm(dataset.pool.positions[:, 1] - dataset.pool.positions[:, 0], axis=1).mean() == pytest.approx(
        1.8 * ANGSTROM_PER_BOHR, rel=0.05
    )
    first = float(lines[2].split()[4]) * EV_PER_HARTREE / ANGSTROM_PER_BOHR
    assert np.isclose(
        np.concatenate([dataset.pool.forces, dataset.holdout.forces, dataset.test.forces])[:, 0, 0], first
    ).any()


def serve_qm9(server: Served) -> None:
    files = {f"dsgdb9nsd_{k:06d}.xyz": METHANE.replace("gdb 1", f"gdb {k}").encode() for k in range(1, 41)}
    server.content["/dsgdb9nsd.xyz.tar.bz2"] = tar(files)
    header = "".join(f"header {k}\n" for k in range(8)) + "======\n"
    server.content["/uncharacterized.txt"] = (
        header + "     21   C  C\n     33   C  C\n======\n    2 in all\n"
    ).encode()


def test_qm9_has_energies_only_and_no_excluded_molecule(server: Served) -> None:
    serve_qm9(server)
    dataset = load({"source": "qm9", "pool": 30, "holdout": 2, "test": 5})
    assert not dataset.pool.has_forces
    assert dataset.pool.energies[0] == pytest.approx(-40.47893 * EV_PER_HARTREE, rel=1e-7)
    assert dataset.isolated_energies is not None
    binding = dataset.pool.energies[0] - dataset.isolated_energies[6] - 4 * dataset.isolated_energies[1]
    assert binding == pytest.approx(-17.17, abs=0.02)  # eV; the paper's atomization energy of methane, 395.999 kcal/mol
    assert dataset.pool.positions[0, 4, 2] == pytest.approx(0.9063972942)
    with pytest.raises(InputError, match=r"accepted: at most 38 frames in total \(data.pool=null: all that are left\)"):
        load({"source": "qm9", "pool": 32, "holdout": 2, "test": 5})


def test_conversions_are_kept(server: Served, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_qm9(server)
    section = {"source": "qm9", "pool": 30, "holdout": 2, "test": 5}
    before = load(section).sha256()
    monkeypatch.setattr(qm9, "_molecules", None)  # a second reading would fail
    assert load(section).sha256() == before
    (kept,) = (root / "converted").iterdir()
    kept.write_bytes(kept.read_bytes()[:-2000])
    with pytest.raises(TypeError):
        load(section)  # a damaged copy is read again


def test_command(server: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve_botnet(server)
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "3bpa                 missing" in listed
    assert main(["fetch", "3bpa"]) == 0
    assert "3bpa: 7 files, checked" in capsys.readouterr().out
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "3bpa                 here" in listed
    marks = {line.split()[0]: line.endswith("[unverified]") for line in listed.splitlines() if line.startswith("  ")}
    assert marks["md17_ethanol"]
    assert marks["3bpa"]  # its training files were tried, its test files were not
    assert not marks["acac"]
    assert main(["fetch", "rmd17"]) == 2
    assert "equilaw: rmd17: neither published nor generated; accepted: 3bpa, acac" in capsys.readouterr().err
    assert main(["fetch", "rmd17_aspirin"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(root / "rmd17" / "rmd17.tar.bz2") in said


def test_card(server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    serve_rmd17(server, 2500)
    out = tmp_path / "card"
    assert main(["info", "rmd17_ethanol", "data.fold=2", "--out", str(out), "--seeds", "2", "--test-frames", "20"]) == 0
    said = capsys.readouterr().out
    assert "21 (3N − 6)" in said
    assert "pool 950, holdout 50, test 1000 (published_2)" in said
    table = pd.read_parquet(out / "distances.parquet")
    assert set(table["P"]) == {1, 2, 4, 8, 16, 32, 64, 128}
    assert set(table["subset_seed"]) == {0, 1}
    assert (out / "card.png").read_bytes().startswith(b"\x89PNG")
    assert main(["info", "rmd17_ethanol", "data.fould=2"]) == 2
    assert main(["info", "nothing"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 2


def test_training_without_forces(server: Served, make_config: MakeConfig) -> None:
    """Energies alone are fitted if forces are unknown."""
    serve_qm9(server)
    data = {"source": "qm9", "pool": 30, "holdout": 2, "test": 5}
    config = make_config({"data": data, "training.force_weight": 0.0, "training.max_steps": 24})
    run = finished(config)
    result = run.result()
    assert result is not None
    assert set(result["metrics"]) == {"energy_mae", "energy_rmse"}
    assert result["primary"] == "energy_mae"
    with pytest.raises(InputError, match=r"training\.force_weight=1: qm9_U0 has no forces; accepted: 0"):
        check_data(parse(make_config({"data": data})), load(data))
