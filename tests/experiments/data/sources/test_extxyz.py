"""Files in and out: exact round trips, labels wherever ASE hides them, and one clear line for each kind of bad file."""

from __future__ import annotations

import gzip
import logging
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.data.sources.extxyz import ExtxyzConfig, extxyz, read_frames, read_isolated, write_frames

SHARED = Path(__file__).parents[5] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"reference data are not at {SHARED}")

FRAME = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="F F F"
H 0.0 0.0 0.0 0.1 0.2 0.3
O 0.0 0.0 1.0 -0.1 -0.2 -0.3
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def _write(text: str, name: str = "some.xyz") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


def random_frames(seed: int, count: int, atoms: int, periodic: bool) -> Frames:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, 90, (count, atoms))
    for f in range(1, count):  # the first frame stays full, so that padding reads back the same
        numbers[f, rng.integers(1, atoms + 1) :] = 0
    real = (numbers > 0)[..., None]
    pbc = rng.random((count, 3)) < 0.5 if periodic else np.zeros((count, 3), bool)
    return Frames(
        numbers=numbers,
        positions=np.where(real, rng.standard_normal((count, atoms, 3)) * 10.0 ** rng.integers(-8, 3), 0.0),
        energies=rng.standard_normal(count) * 10.0 ** rng.integers(-5, 6),
        forces=np.where(real, rng.standard_normal((count, atoms, 3)), 0.0),
        cells=np.where(pbc[..., None], rng.standard_normal((count, 3, 3)), 0.0),
        pbc=pbc,
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4), atoms=st.integers(1, 5), periodic=st.booleans())
def test_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, atoms: int, periodic: bool
) -> None:
    frames = random_frames(seed, count, atoms, periodic)
    path = tmp_path_factory.mktemp("trip") / "frames.xyz"
    write_frames(path, frames, "E0", "my_forces")
    assert read_frames(path, "E0", "my_forces").sha256() == frames.sha256()
    assert [p.name for p in path.parent.iterdir()] == ["frames.xyz"], "nothing is left aside"


@pytest.mark.parametrize("keys", [("energy", "forces"), ("REF_energy", "REF_forces"), ("energy", "REF_forces")])
def test_files_that_ase_wrote(tmp_path: Path, keys: tuple[str, str]) -> None:
    atoms = ase.Atoms("OH2", positions=np.arange(9.0).reshape(3, 3), cell=[5, 6, 7], pbc=[True, False, True])
    atoms.info[keys[0]] = -3.25
    atoms.arrays[keys[1]] = np.arange(9.0).reshape(3, 3) / 8
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    frames = read_frames(tmp_path / "a.xyz", *keys)
    assert frames.energies.tolist() == [-3.25]
    np.testing.assert_array_equal(frames.forces[0], atoms.arrays[keys[1]])
    np.testing.assert_array_equal(frames.cells[0], np.diag([5.0, 0.0, 7.0]))
    assert frames.pbc[0].tolist() == [True, False, True]


def test_ragged_frames_are_padded(write: Callable[..., Path]) -> None:
    one = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=2\nHe 1 2 3 0 0 0\n"
    frames = read_frames(write(FRAME + one + "\n\n"))
    assert frames.numbers.tolist() == [[1, 8], [2, 0]]
    assert frames.positions[1].tolist() == [[1, 2, 3], [0, 0, 0]]
    assert frames.energies.tolist() == [-1.5, 2.0]
    assert not frames.cells.any()


BAD = {
    "empty": ("", "holds no frames"),
    "not_xyz": ("hello\nworld\n", r"frame 0 \(line 1\): expected the number of atoms, got 'hello'"),
    "zero_atoms": (FRAME + "0\n\n", r"frame 1 \(line 5\): expected the number of atoms, got '0'"),
    "truncated": (FRAME + FRAME[: FRAME.index("O 0.0")], r"frame 1 \(line 5\): truncated, 1 of 2 atoms"),
    "cut_in_a_line": (FRAME + FRAME[:-12], r"frame 1 \(line 5\): atom 1 has 5 columns; accepted: 7"),
    "not_a_number": (FRAME.replace("0.3\nO", "x\nO"), "frame 0 .*not extended XYZ"),
    "unknown_element": (FRAME.replace("O 0.0", "Qq 0.0"), "frame 0 .*atom 1 is .Qq., no chemical symbol"),
    "no_energy": (
        FRAME.replace("energy", "E_dft"),
        r"frame 0 .*no energy 'energy' \(data.energy_key\).*has: E_dft, forces",
    ),
    "no_forces": (
        FRAME.replace("forces", "push"),
        r"frame 0 .*no forces 'forces' \(data.forces_key\).*has: energy, push",
    ),
    "energy_is_a_word": (
        FRAME.replace("-1.5", "low"),
        "frame 0 .*energy 'energy' is 'low'; accepted: one number in eV",
    ),
    "energy_is_true": (FRAME.replace("-1.5", "T"), "frame 0 .*accepted: one number"),
    "energy_is_a_list": (FRAME.replace("-1.5", '"1 2 3"'), "frame 0 .*accepted: one number"),
    "energy_nan": (FRAME + FRAME.replace("-1.5", "nan"), "frame 1 .*energy 'energy' is nan"),
    "force_inf": (FRAME + FRAME.replace("-0.2", "inf"), "frame 1 .*forces 'forces' of atom 1 are .*inf"),
    "position_nan": (FRAME.replace("1.0 -0.1", "nan -0.1"), "frame 0 .*positions of atom 1"),
    "two_force_components": (
        FRAME.replace("forces:R:3", "forces:R:2").replace(" 0.3", "").replace(" -0.3", ""),
        r"frame 0 .*forces 'forces' have shape \(2, 2\) of float64; accepted: 2 × 3 numbers in eV/Å",
    ),
    "dummy_atom": (FRAME.replace("O 0.0", "X 0.0"), "frame 0 .*atom 1 is of no element"),
    "periodic_without_cell": (FRAME.replace("F F F", "T F F"), "frame 0 .*accepted: as many independent vectors"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(write: Callable[..., Path], case: str) -> None:
    text, message = BAD[case]
    path = write(text)
    with pytest.raises(InputError, match=message) as caught:
        read_frames(path, option="data.train")
    assert str(caught.value).startswith(f"data.train={path}")
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.test=.*absent.xyz: no such file"):
        read_frames(tmp_path / "absent.xyz", option="data.test")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_frames(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_frames(tmp_path / "binary")


def test_isolated_atoms(write: Callable[..., Path]) -> None:
    atom = '1\nProperties=species:S:1:pos:R:3 E={} pbc="F F F"\n{} 0 0 0\n'
    assert read_isolated(write(atom.format(-13.5, "H") + atom.format(-2035, "O")), "E") == {1: -13.5, 8: -2035.0}
    with pytest.raises(InputError, match=r"data.isolated_atoms=.*frame 0 .*has 2 atoms"):
        read_isolated(write(FRAME))
    with pytest.raises(InputError, match=r"frame 1 .*second, different energy for H"):
        read_isolated(write(atom.format(-13.5, "H") + atom.format(-13.6, "H")), "E")


def varied(count: int, start: int = 0) -> str:
    return "".join(FRAME.replace("1.0 -0.1", f"{1 + (start + i) / 1000} -0.1") for i in range(count))


def test_holdout_is_set_aside(write: Callable[..., Path]) -> None:
    train, test = write(varied(40), "train.xyz"), write(varied(5, start=100), "test.xyz")
    dataset = extxyz(ExtxyzConfig(train=str(train), test=str(test)))
    assert (len(dataset.pool), len(dataset.holdout), len(dataset.test)) == (36, 4, 5)
    lengths = np.concatenate([dataset.pool.positions[:, 1, 2], dataset.holdout.positions[:, 1, 2]])
    assert sorted(lengths.tolist()) == [1 + i / 1000 for i in range(40)]
    again = extxyz(ExtxyzConfig(train=str(train), test=str(test)))
    assert again.sha256() == dataset.sha256()
    other = extxyz(ExtxyzConfig(train=str(train), test=str(test), holdout=str(test)))
    assert (len(other.pool), len(other.holdout)) == (40, 5)
    assert dataset.test_set == "test"
    with pytest.raises(InputError, match=r"data.holdout_frames=40: .*holds 40 frames"):
        extxyz(ExtxyzConfig(train=str(train), test=str(test), holdout_frames=40))


def test_splits_share_one_padding(write: Callable[..., Path]) -> None:
    three = "3\nProperties=species:S:1:pos:R:3:forces:R:3 energy=2\n" + "H 1 2 3 0 0 0\n" * 3
    train, test = write(varied(4), "train.xyz"), write(three, "test.xyz")
    dataset = extxyz(ExtxyzConfig(train=str(train), test=str(test)))
    assert dataset.pool.numbers.shape[1] == dataset.holdout.numbers.shape[1] == dataset.test.numbers.shape[1] == 3


def test_says_when_test_frames_train(write: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    train, test = write(varied(10), "train.xyz"), write(varied(5, start=7), "test.xyz")
    with caplog.at_level(logging.WARNING):
        dataset = extxyz(ExtxyzConfig(train=str(train), test=str(test)))
    assert dataset.provenance["test_frames_also_in_train"] == 3
    assert "3 frames of data.test" in caplog.text


def test_bad_keys() -> None:
    with pytest.raises(InputError, match="energy_key='my energy'"):
        ExtxyzConfig(train="a", test="b", energy_key="my energy")


@needs_shared
def test_rmd17_ethanol() -> None:
    folder = SHARED / "rmd17_ethanol"
    dataset = extxyz(
        ExtxyzConfig(
            train=str(folder / "train.xyz"), test=str(folder / "test.xyz"),
            isolated_atoms=str(folder / "isolated_atoms.xyz"), name="rmd17_ethanol",
        )
    )  # fmt: skip
    assert (len(dataset.pool), len(dataset.holdout), len(dataset.test)) == (950, 50, 1000)
    assert sorted(dataset.pool.numbers[0].tolist()) == [1] * 6 + [6, 6, 8]
    assert not dataset.pool.cells.any(), "the files carry a 50 Å box that is not periodic"
    assert dataset.isolated_energies is not None
    assert set(dataset.isolated_energies) >= {1, 6, 8}
    # net force of an isolated molecule; the file has eight decimals and DFT grids break translation a little
    assert np.abs(dataset.pool.forces.sum(1)).max() < 1e-2


@needs_shared
@pytest.mark.parametrize("name", ["train_300K", "train_mixedT"])
def test_3bpa(name: str) -> None:
    frames = read_frames(SHARED / "3bpa" / f"{name}.xyz")
    assert frames.forces.shape == (500, 27, 3)


def test_free_atoms_among_the_training_frames_are_a_baseline_and_no_examples(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    free = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy={} config_type=IsolatedAtom\n{} 0 0 0 0 0 0\n"
    molecules = "".join(FRAME.replace("1.0", f"1.0{i}") for i in range(8))
    train = write(free.format(-0.5, "H") + molecules + free.format(-0.75, "O"), "train.xyz")
    test = write("".join(FRAME.replace("1.0", f"1.1{i}") for i in range(4)) + free.format(-9.0, "H"), "test.xyz")
    made = extxyz(ExtxyzConfig(train=str(train), test=str(test)))
    assert len(made.pool) + len(made.holdout) == 8
    assert len(made.test) == 4
    assert made.isolated_energies == {1: -0.5, 8: -0.75}
    assert "2 frames of one free atom (H, O) are no examples" in caplog.text
    plain = extxyz(ExtxyzConfig(train=str(write(molecules, "plain.xyz")), test=str(test)))
    assert plain.pool.sha256() == made.pool.sha256()
    assert plain.isolated_energies is None
    with pytest.raises(InputError, match=r"nothing but free atoms; accepted: frames of several atoms"):
        extxyz(ExtxyzConfig(train=str(write(free.format(-0.5, "H"), "free.xyz")), test=str(test)))


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0c", "\x1c"])
def test_only_newlines_end_a_line(write: Callable[[str], Path], mark: str) -> None:
    text = FRAME.replace("energy=", f'note="a{mark}b" energy=')
    assert len(read_frames(write(text + text))) == 2
    assert len(read_frames(write((text + text).replace("\n", "\r\n")))) == 2


def test_files_are_known_by_content_whatever_their_name(tmp_path: Path) -> None:
    packed = tmp_path / "frames.xyz"
    packed.write_bytes(gzip.compress(FRAME.encode()))
    assert len(read_frames(packed)) == 1
    packed.write_bytes(gzip.compress(FRAME.encode())[:-12])
    with pytest.raises(InputError, match="cannot be read as text"):
        read_frames(packed)
    marked = tmp_path / "bom.xyz"
    for content in (b"\xef\xbb\xbf" + FRAME.encode(), FRAME.encode("utf-16"), ("\n\n" + FRAME + "\n").encode()):
        marked.write_bytes(content)
        assert len(read_frames(marked)) == 1
    marked.write_text(FRAME + "\n" + FRAME)
    assert len(read_frames(marked)) == 2
    ase.io.write(tmp_path / "a.db", ase.Atoms("H"), format="db")
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    ase.io.write(tmp_path / "a.traj", ase.Atoms("H"), format="traj")
    ase.io.write(tmp_path / "a.json", ase.Atoms("H"), format="json")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        archive.write(marked)
        tar.add(marked)
    for name, hint in (
        ("a.db", "data=ase_db"), ("a.npz", "data=rmd17_NAME"), ("a.traj", "ase convert"), ("a.json", "data=ase_db"),
        ("a.zip", "is an archive; unpack it"), ("a.tar.gz", "is an archive; unpack it"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=hint):
            read_frames((tmp_path / name).rename(tmp_path / "other.xyz"))


@pytest.mark.parametrize("label", ["D", "H1", "8", "X7"])
def test_a_label_that_is_no_element_is_named_with_its_atom(write: Callable[[str], Path], label: str) -> None:
    with pytest.raises(InputError, match=rf"frame 0 \(line 1\): atom 1 is '{label}', no chemical symbol"):
        read_frames(write(FRAME.replace("O 0.0", f"{label} 0.0")))


@pytest.mark.parametrize("lattice", ["lattice", "LATTICE", "Lattice"])
def test_keys_in_other_letters_are_meant(write: Callable[..., Path], lattice: str) -> None:
    """As GPUMD writes them; ASE alone would take the cell for a label, and the frames for molecules."""
    text = FRAME.replace("Properties", "properties").replace('pbc="F F F"', f'{lattice}="5 0 0 0 5 0 0 0 5"')
    frames = read_frames(write(text))
    assert frames.pbc.all()
    assert np.array_equal(frames.cells[0], 5 * np.eye(3))
    assert frames.forces[0, 1].tolist() == [-0.1, -0.2, -0.3]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.1 0.2 0.3", "0.1 0.2", r"frame 0 \(line 1\): atom 0 has 6 columns; accepted: 7, as Properties=species"),
        ("-0.1 -0.2", "-0. 1 -0.2", r"atom 1 has 8 columns; accepted: 7"),  # a blank in a number shifts the others
        ("forces:R:3", f"forces:R:{10**40}", "atom 0 has 7 columns; accepted: 10{39}4, as "),  # ASE would make them all
        ("1.0 -0.1", "1e300 -0.1", "positions of atom 1 are .*; accepted: finite numbers below 1e[+]11"),
        ("energy=-1.5", "energy=1e300", "energy 'energy' is 1e[+]300; accepted: a finite number below 1e[+]11 eV"),
    ],
)
def test_columns_and_numbers_that_cannot_be(write: Callable[..., Path], old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_frames(write(FRAME.replace(old, new)))


def test_further_columns_of_all_atoms_are_passed_over(write: Callable[..., Path]) -> None:
    text = FRAME.replace("0.1 0.2 0.3", "0.1 0.2 0.3 9").replace("-0.1 -0.2 -0.3", "-0.1 -0.2 -0.3 9")
    assert read_frames(write(text)).forces[0, 0].tolist() == [0.1, 0.2, 0.3]


def test_a_label_given_twice(write: Callable[..., Path]) -> None:
    """ASE takes the last."""
    for again in ("energy=-1.5", 'energy="-1.50"', "step=1 step=2", 'comment="energy=3"'):
        assert read_frames(write(FRAME.replace("energy=-1.5", f"energy=-1.5 {again}"))).energies.tolist() == [-1.5]
    with pytest.raises(
        InputError, match=r"frame 1 \(line 5\): energy 'energy' is given 2 times: -1.5, -2; accepted: once"
    ):
        read_frames(write(FRAME + FRAME.replace("energy=-1.5", "energy=-1.5 energy=-2")))
    with pytest.raises(InputError, match=r"frame 0 .*: pbc is given twice, and not the same; accepted: once"):
        read_frames(write(FRAME.replace("energy=-1.5", 'energy=-1.5 pbc="T T T"')))
    with pytest.raises(InputError, match=r"no energy 'E' .*; the frame has: energy, forces$"):
        read_frames(write(FRAME.replace("energy=-1.5", "energy=-1.5 energy=-2")), "E")


@pytest.mark.parametrize("comment", ["-1.5", "energy: -1.5"])
def test_an_energy_without_a_name(write: Callable[..., Path], comment: str) -> None:
    with pytest.raises(InputError, match=r"no energy 'energy' .*: write energy=-1.5$"):
        read_frames(write(FRAME.replace("energy=-1.5", comment)))


def test_columns_in_any_order(write: Callable[..., Path]) -> None:
    expected = read_frames(write(FRAME)).sha256()
    atoms = [line.split() for line in FRAME.splitlines()[2:]]
    order = FRAME.splitlines()[1].replace("species:S:1:pos:R:3:forces:R:3", "forces:R:3:Z:I:1:pos:R:3")
    lines = [" ".join([*row[4:], {"H": "1", "O": "8"}[row[0]], *row[1:4]]) for row in atoms]
    assert read_frames(write("\n".join(["2", order, *lines]))).sha256() == expected
    assert read_frames(write("".join(f"{line}  \t\r\n" for line in FRAME.splitlines()))).sha256() == expected
