"""`fetch --from DIR`: files in every layout are found, checked and copied; what is wrong or lacking is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from experiments.core.errors import InputError
from experiments.data.__main__ import main
from experiments.data.copies import take
from experiments.data.download import RemoteFile
from experiments.data.load import load
from tests.experiments.data.published_copies import COPIES, needed

PINNED = RemoteFile("set/train.xyz", (), hashlib.sha256(b"train").hexdigest(), ("copies/old name.xyz",))
OPEN = RemoteFile("set/A_data.json", (), None, ("data/A/data.json", "set/A.xyz", "A.xyz"))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "given"
    (path / "set").mkdir(parents=True)
    (path / "copies").mkdir()
    (path / "data" / "A").mkdir(parents=True)
    return path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["set/train.xyz", "train.xyz", "copies/old name.xyz", "old name.xyz"])
def test_a_pinned_file_is_found_by_any_of_its_names(name: str, folder: Path, root: Path) -> None:
    for other in ("set/train.xyz", "train.xyz"):
        (folder / other).write_bytes(b"of another set")
    (folder / name).write_bytes(b"train")
    before = everything(folder)
    assert take("one", [PINNED], folder) == [root / "set" / "train.xyz"]
    assert (root / "set" / "train.xyz").read_bytes() == b"train"
    assert everything(folder) == before, "the directory is not ours to write to"
    (folder / name).write_bytes(b"changed")
    assert take("one", [PINNED], folder) == [root / "set" / "train.xyz"]  # it is here already


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("set/A_data.json", "set/A_data.json"),
        ("A_data.json", "set/A_data.json"),
        ("data/A/data.json", "set/A_data.json"),
        ("set/A.xyz", "set/A.xyz"),
        ("A.xyz", "set/A.xyz"),
    ],
)
def test_another_format_keeps_its_suffix_and_the_checksum_is_recorded(
    name: str, taken: str, folder: Path, root: Path
) -> None:
    (folder / name).write_bytes(b"frames")
    assert take("one", [OPEN], folder) == [root / taken]
    (root / taken).write_bytes(b"other frames")
    with pytest.raises(InputError, match="of when it was first read"):
        take("one", [OPEN], folder)


def test_a_name_that_several_files_have_is_not_taken_without_a_checksum(folder: Path) -> None:
    (folder / "data.json").write_bytes(b"of which element?")
    with pytest.raises(InputError, match=r"one: 0 of 1 files are here now; not in .*given: set/A_data\.json; "):
        take("one", [OPEN], folder)


def test_what_is_wrong_and_what_is_lacking_is_named_and_the_rest_is_kept(folder: Path, root: Path) -> None:
    (folder / "train.xyz").write_bytes(b"changed")
    (folder / "third.xyz").write_bytes(b"third")
    third = RemoteFile("set/third.xyz", ())
    with pytest.raises(InputError) as caught:
        take("one", [PINNED, OPEN, third], folder)
    assert str(caught.value) == (
        f"one: 1 of 3 files are here now; not in {folder}: set/A_data.json; with another SHA-256 than the published "
        f"file: {folder / 'train.xyz'}; without --from, fetch downloads what is missing"
    )
    assert (root / "set" / "third.xyz").read_bytes() == b"third"
    assert not (root / "set" / "train.xyz").exists()
    with pytest.raises(InputError, match=r"--from .*nowhere: no such directory; accepted: one with files of one"):
        take("one", [PINNED], folder / "nowhere")


@needed
def test_copies_beside_the_checkout(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: taken by name, found by name, of the same content as where they lie."""
    names = ["ethanol_pbe", "acac", "mlearn_si", "mlearn_li"]
    assert main(["fetch", *names, "--from", str(COPIES)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"ethanol_pbe: 6 files, checked, in {root / 'dataset_ethanol'}"
    assert len(said) == 4
    assert main(["list"]) == 0
    listed = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert {listed[name] for name in names} == {"here"}
    assert {listed[name] for name in ("3bpa", "mlearn_ge")} == {"missing"}
    assert len(load({"source": "ethanol_pbe", "test": "norm_mode_874"}).test) == 37
    assert main(["fetch", "3bpa", "--from", str(COPIES)]) == 2
    assert "3bpa: 3 of 7 files are here now; not in" in capsys.readouterr().err
