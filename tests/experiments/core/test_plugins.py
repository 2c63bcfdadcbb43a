"""The scan of files that declare something: names without imports, and faults of a user's sources and figures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from analysis.errors import InputError
from analysis.figures.draw_all import draw_all, figures
from analysis.spelling import display_name
from experiments.config.parse import parse
from experiments.core import kinds, plugins
from experiments.core.paths import CONF, ROOT
from experiments.data.dataset import Dataset
from experiments.data.load import config_of, load_any, maker_of
from experiments.data.published import published
from experiments.models.registry import MODELS
from tests.test_contributing import FILES

Write = Callable[..., Path]
SOURCE, FIGURE = FILES["mine/sources/morse.py"], FILES["mine/figures/spread.py"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with the worked examples, named by the variable."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_the_programs_own_say_what_they_are() -> None:
    """The names that the scan reads are those of the imported classes; every one has a label and can be built."""
    for name, declared in MODELS.declared.items():
        settings = MODELS[name]
        assert (settings.architecture, settings.label) == (name, declared.attributes["label"])
        assert MODELS.of_molecules(name) == (not settings.closed_form and "molecules" in settings.kinds)
    for name in kinds.KINDS:
        assert (config_of(name).source, config_of(name).kind) == (name, kinds.KINDS[name])
        assert callable(maker_of(name))
    assert {figure.name for figure in figures()} == {
        "claim", "cost", "exponents", "forecast", "groups", "learning_curves", "map", "nearest"
    }  # fmt: skip


def test_every_file_of_the_rooms_is_found() -> None:
    """A file beside the others that declares nothing would be one that the scan passed over."""
    helpers = {"__init__", "contract", "registry"}
    files = {path.stem for path in (ROOT / "experiments" / "models").glob("*.py")} - helpers
    assert files == {declared.path.stem for declared in MODELS.declared.values()}


def test_groups_of_hydra_have_a_users_options(mine: Path) -> None:
    """Their settings with their defaults; a key that they lack is refused as that of a shipped file."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", ["model=radial", "data=morse", "model.channels=5"]))
        assert isinstance(composed, dict)
        with pytest.raises(MissingConfigException, match="radical"):
            compose("config", ["model=radical"])
    assert composed["model"] == {"architecture": "radial", "cutoff": 3.0, "channels": 5}
    assert composed["data"]["source"] == "morse"
    run = parse({str(key): value for key, value in composed.items() if key != "hydra"})
    assert (run.architecture, run.plugins, run.data["plugins"]) == ("radial", str(mine), str(mine))
    assert kinds.kind_of(run.data) == "molecules"


def test_several_folders(mine: Path, tmp_path: Path) -> None:
    """Separated as in PATH, relative to the directory that the command is given in; each once."""
    other = tmp_path / "other"
    other.mkdir()
    relative = os.path.relpath(other)
    assert plugins.folders(f"{relative}{os.pathsep}{mine}") == (other, mine)
    plugins.announce(relative)
    assert os.environ[plugins.VARIABLE] == f"{other}{os.pathsep}{mine}"


def edited(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (edited(SOURCE, "class CONFIG", "class Config"), r"CONFIG=None: accepted: a frozen dataclass of settings"),
        (edited(SOURCE, '"molecules"', '"molecule"'), r"CONFIG\.kind='molecule': accepted: molecules \| images"),
        (edited(SOURCE, "def load(", "def read("), r"load is missing; accepted: a function load\(config\)"),
        (edited(SOURCE, "return Dataset(", "return dict("), r"load returned dict; accepted: Dataset \| ExampleSet"),
        (edited(SOURCE, "import numpy", "import numpie"), r"cannot be imported: ModuleNotFoundError: No module named"),
    ],
)
def test_a_faulty_source_is_named(mine: Path, text: str, message: str) -> None:
    (mine / "sources" / "morse.py").write_text(text)
    with pytest.raises(InputError, match=rf"mine/sources/morse\.py: {message}"):
        load_any({"source": "morse", "plugins": str(mine)})


def test_a_source_may_have_files_to_download(mine: Path) -> None:
    assert "morse" not in published()
    path = mine / "sources" / "morse.py"
    imports = "from experiments.data.published import of_files\n"
    path.write_text(f"{imports}{SOURCE}\n\ndef published():\n    return {{'morse': of_files('made up', [])}}\n")
    assert published()["morse"].what == "made up"


def test_a_users_source_is_a_dataset(mine: Path) -> None:
    """By any process that has the section; the folder is no part of its content."""
    data = load_any({"source": "morse", "pool": 6, "holdout": 2, "test": 3, "plugins": str(mine)})
    assert isinstance(data, Dataset)
    assert (len(data.pool), len(data.holdout), len(data.test)) == (6, 2, 3)
    with pytest.raises(InputError, match=r"data\.pools: unknown key"):
        load_any({"source": "morse", "pools": 6, "plugins": str(mine)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (edited(FIGURE, 'NAME = "spread"', ""), r"NAME=None: accepted: the file's name"),
        (edited(FIGURE, "def collect(", "def gather("), r"collect is missing; accepted: a function collect\(fits"),
        (edited(FIGURE, "def draw(", "def paint("), r"draw is missing; accepted: a function draw\(data, stem\)"),
        (edited(FIGURE, "return [fit", "return fits[0] or [fit"), r"figure spread: IndexError"),
    ],
)
def test_a_faulty_figure_is_named(mine: Path, tmp_path: Path, text: str, message: str) -> None:
    (mine / "figures" / "spread.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for figure in figures():
            if figure.module is not None:  # they need curves
                patch.setattr(figure.load(), "collect", lambda fits, distances: None)
        with pytest.raises(InputError, match=rf"mine/figures/spread\.py: {message}"):
            draw_all([], tmp_path)


def test_names_in_figures(mine: Path) -> None:
    assert (display_name("radial"), display_name("mace"), display_name("other")) == ("radial sums", "MACE", "other")
