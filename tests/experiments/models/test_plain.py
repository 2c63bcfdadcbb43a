"""A plain module among packs: its energies and forces, its constants, its faults, each against a simpler way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config.channel_match import ChannelMatchSpec
from experiments.config.parse import parse
from experiments.core import plugins
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset, Frames
from experiments.models.networks import network
from experiments.models.networks.plain import NEIGHBOURS, PlainNetwork
from experiments.models.networks.probe import examine, traceable
from experiments.models.registry import MODELS, models
from experiments.runs.capacity import match_channels, weights
from experiments.runs.problems import Molecules, TaskSettings, mean_neighbours
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.predictions import Predictions
from tests.experiments.finished import configuration, finished, molecules
from tests.test_contributing import FILES

GOOD = FILES["mine/models/radial.py"]
CPU = torch.device("cpu")


def folder_with(path: Path, text: str = GOOD, name: str = "radial") -> Path:
    """A user's folder with one architecture."""
    (path / "mine" / "models").mkdir(parents=True, exist_ok=True)
    (path / "mine" / "models" / f"{name}.py").write_text(text)
    return path / "mine"


def settings(path: Path, text: str = GOOD, **values: Any) -> Any:
    return models(plugins.folders(str(folder_with(path, text))))["radial"](**values)


@pytest.fixture
def data() -> Dataset:
    """Molecules of three and of four atoms, so that some frames are padded."""
    frames = molecules(3)
    return Dataset("small", frames, frames.take(slice(0, 2)), frames.take(np.array([0, 3, 6])))


def predicted(
    model: Any, data: Dataset, weights: Sequence[Mapping[str, torch.Tensor]], frames: Frames | None = None
) -> list[Predictions]:
    """Predictions of packed weights for all frames of the pool, in float64."""
    shown = data if frames is None else replace(data, pool=frames)
    task = MoleculeTask(shown, model.config.cutoff, torch.float64, CPU, data.elements())
    prepared = [replace(task.prepare(np.arange(len(shown.pool))), scale=1.0) for _ in weights]
    params = {name: torch.stack([one[name] for one in weights]) for name in weights[0]}
    return task.predict(model, params, prepared, task.pool, [np.arange(len(shown.pool))] * len(weights))


def test_energies_are_those_of_the_module_called_by_hand(tmp_path: Path, data: Dataset) -> None:
    """On positions, with edges listed one by one and no padding; the composition's part is left out of both."""
    config = settings(tmp_path, cutoff=2.0)
    model: Any = network(config, data.elements(), 2.5)
    weights = model.init(3, torch.float64)
    (found,) = predicted(model, data, [weights])
    module = model.module.double()
    module.load_state_dict(
        {name.removeprefix("constant.buffer."): w for name, w in weights.items() if name != NEIGHBOURS}
    )
    task = MoleculeTask(data, 2.0, torch.float64, CPU, data.elements())
    baseline = task.prepare(np.arange(len(data.pool))).baseline.predict(data.pool.numbers)
    for f, numbers in enumerate(data.pool.numbers):
        real = numbers > 0
        x = torch.as_tensor(data.pool.positions[f][real])
        pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j and (x[i] - x[j]).norm() < 2.0]
        species = torch.as_tensor(np.searchsorted(data.elements(), numbers[real]))
        edges = torch.tensor(pairs).T
        alone = module(x, species, edges, torch.zeros(len(pairs), 3, dtype=torch.float64), torch.zeros(len(x)).long())
        # float64 sums in another order
        assert found.energies[f] - baseline[f] == pytest.approx(alone.sum().item(), abs=1e-9)


def test_forces_are_the_finite_differences_of_energies(tmp_path: Path, data: Dataset) -> None:
    model: Any = network(settings(tmp_path, cutoff=2.0), data.elements(), 2.5)
    weights = model.init(0, torch.float64)
    (found,) = predicted(model, data, [weights])
    step = 1e-4  # Å: the error of a central difference is its square
    for atom, axis in ((0, 0), (1, 1), (2, 2)):
        moved = []
        for sign in (1, -1):
            positions = data.pool.positions.copy()
            positions[:, atom, axis] += sign * step
            moved.append(predicted(model, data, [weights], replace(data.pool, positions=positions))[0].energies)
        assert (moved[1] - moved[0]) / (2 * step) == pytest.approx(found.forces[:, atom, axis], abs=1e-6)


def test_a_pack_is_its_runs(tmp_path: Path, data: Dataset) -> None:
    model: Any = network(settings(tmp_path), data.elements(), 2.5)
    weights = [model.init(seed, torch.float64) for seed in (0, 1)]
    together = predicted(model, data, weights)
    for one, both in zip(weights, together, strict=True):
        (alone,) = predicted(model, data, [one])
        assert np.array_equal(alone.forces, both.forces)
    assert not np.allclose(together[0].energies, together[1].energies)


def test_the_mean_number_of_neighbours_is_the_pools(tmp_path: Path, data: Dataset) -> None:
    """Counted by hand, stored with the weights, and the same for every run."""
    config = settings(tmp_path, cutoff=1.4)
    edges = atoms = 0
    for numbers, positions in zip(data.pool.numbers, data.pool.positions, strict=True):
        x = positions[numbers > 0]
        edges += int((np.linalg.norm(x[:, None] - x, axis=-1) < 1.4).sum()) - len(x)
        atoms += len(x)
    assert mean_neighbours(data, config) == np.float32(edges / atoms)
    model: Any = Molecules(data).network(config)
    assert float(model.init(0, torch.float32)[NEIGHBOURS]) == mean_neighbours(data, config)
    assert model.module.scale == mean_neighbours(data, config) ** -0.5


def test_weights_are_the_seeds(tmp_path: Path) -> None:
    model: Any = network(settings(tmp_path), 2, 2.5)
    one, same, other = (model.init(seed, torch.float32) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["readout.0.weight"], other["readout.0.weight"])


def test_what_depends_on_values_is_not_compiled(tmp_path: Path) -> None:
    assert traceable(network(settings(tmp_path / "a"), 2, 2.5), torch.float32)  # type: ignore[arg-type]
    chosen = GOOD.replace("        i, j = edge_index\n", (
        "        i, j = edge_index\n        near = (positions[j] + shifts - positions[i]).norm(dim=1) < self.cutoff\n"
        "        i, j, shifts = i[near], j[near], shifts[near]\n"
    ))  # fmt: skip
    config = settings(tmp_path / "b", chosen)
    examine(config, (1, 8), "float32")
    assert not traceable(network(config, 2, 2.5), torch.float32)  # type: ignore[arg-type]


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.long)])
def test_it_trains_in_packs_and_alone(tmp_path: Path, compile: bool) -> None:
    """A run gives the errors that its stored weights give; compiled, it computes the same."""
    folder = str(folder_with(tmp_path))
    changes = {"L": None, "nu": None, "plugins": folder, "model": {"architecture": "radial", "cutoff": 2.0}}
    for name in ("eager", "compiled"):
        (tmp_path / name).mkdir()
    eager = finished(configuration(tmp_path / "eager", "mace", changes)).result()
    assert eager is not None
    if compile:
        other = finished(configuration(tmp_path / "compiled", "mace", {**changes, "training.compile": True})).result()
        assert other is not None
        # round-off of float64, amplified by the updates
        assert other["metrics"] == pytest.approx(eager["metrics"], rel=1e-6)
    assert eager["architecture"] == "radial"
    assert eager["n_features"] == 8


def edited(old: str, new: str) -> str:
    assert old in GOOD, old
    return GOOD.replace(old, new)


BUILT = "return Radial(config, info)"
SEEDLESS = f"torch.seed()\n    {BUILT}"
DETACHED = edited("(r[:, None] -", "(r.detach()[:, None] -").replace("torch.pi * (r /", "torch.pi * (r.detach() /")
FAULTS: dict[str, tuple[str, str]] = {
    "no CONFIG": (edited("class CONFIG:", "class Config:"), "CONFIG=None: accepted: a frozen dataclass of settings"),
    "no dataclass": (edited("@dataclass(frozen=True)\n", ""), "CONFIG=<class"),
    "no build": (edited("def build(", "def make("), "build is missing; accepted: a function build(config, info)"),
    "no cutoff": (edited("    cutoff: float = 3.0  # Å\n", ""), "CONFIG.cutoff is missing; accepted: a field cutoff"),
    "no label": (edited('label = "radial sums"', 'title = ""'), "CONFIG.label=None: accepted: a class attribute"),
    "no group": (edited('group = "E(3)"', 'symmetry = "E(3)"'), "CONFIG.group=None: accepted: a class attribute"),
    "no kinds": (edited('kinds = ("molecules",)', "kinds = ()"), "CONFIG.kinds=(): accepted: kinds of examples"),
    "no default": (edited("channels: int = 8", "channels: int"), "cannot be imported: TypeError"),
    "no import": ("import nothing_of_that_name\n" + GOOD, "cannot be imported: ModuleNotFoundError"),
    "build fails": (edited("config.cutoff, 8))", "config.cut, 8))"), "build(config, info): AttributeError"),
    "no module": (edited(BUILT, "return 3"), "build returned int; accepted: a torch.nn.Module"),
    "no weights": (edited(BUILT, f"{BUILT}.requires_grad_(False)"), "build returned a module without parameters"),
    "other weights": (edited(BUILT, SEEDLESS), "build drew other weights from the same seed"),
    "shape": (edited(".squeeze(1)", ""), "forward returned a tensor of shape [4, 1] for 4 atoms; accepted: shape [4]"),
    "total": (edited(".squeeze(1)", ".sum()"), "forward returned a tensor of shape [] for 4 atoms; accepted: shape"),
    "arguments": (
        edited("shifts, batch):", "shifts):"),
        "forward(positions, species, edge_index, shifts, batch): Type",
    ),
    "dtype": (edited(".squeeze(1)", ".squeeze(1).double()"), "forward returned torch.float64; accepted: torch.float32"),
    "positions": (
        edited("messages = (", "messages = positions.norm(dim=1).mean() * ("),
        "forward depends on positions by more than positions[j] + shifts - positions[i]",
    ),
    "others": (edited("messages = (", "messages = len(species) * ("), "gives the atoms of a molecule other energies"),
    "gradient": (DETACHED, "forward cannot be differentiated by vectors"),
    "infinite": (edited(".squeeze(1)", ".squeeze(1) / 0"), "forward returned energies that are not finite"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_missing_piece_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    text, message = FAULTS[name]
    with pytest.raises(InputError) as error:
        examine(settings(tmp_path, text), (1, 8), "float32")
    assert str(error.value).startswith(f"{tmp_path / 'mine' / 'models' / 'radial.py'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_of_the_programs_own_is_taken(tmp_path: Path) -> None:
    users = plugins.folders(str(folder_with(tmp_path, edited('architecture = "radial"', 'architecture = "mace"'))))
    with pytest.raises(InputError, match=r"radial\.py: architecture 'mace': the name is taken by the program's own"):
        models(users)


def test_the_files_name_counts_where_none_is_said(tmp_path: Path) -> None:
    """A name that is no literal is known after the import only; then it must be the file's."""
    folder = folder_with(tmp_path, edited('architecture = "radial"', 'architecture = "rad" + "ial"'))
    found = models(plugins.folders(str(folder)))
    assert found["radial"].architecture == "radial"
    folder_with(tmp_path, edited('architecture = "radial"', 'architecture = "rad" + "ical"'))
    with pytest.raises(InputError, match=r"CONFIG\.architecture='radical': accepted: the file's name"):
        models(plugins.folders(str(folder)))["radial"]


def test_a_dataclass_that_is_not_frozen_will_do(tmp_path: Path) -> None:
    config = settings(tmp_path, edited("@dataclass(frozen=True)", "@dataclass"), channels=4)
    assert hash(config) == hash(type(config)(channels=4))
    assert network(config, 2, 2.5).init(0, torch.float32)


def test_the_identity_has_the_settings_and_not_the_folder(tmp_path: Path) -> None:
    """Two folders with one file are one curve; other settings, and raised numerics, are others."""

    def made(name: str, text: str = GOOD, **values: Any) -> str:
        folder = str(folder_with(tmp_path / name, text))
        model = {"architecture": "radial", **values}
        changes = {"L": None, "nu": None, "plugins": folder, "model": model}
        return parse(configuration(tmp_path, "mace", changes)).model_id("0" * 64)

    first = made("a")
    assert made("b") == first
    assert made("c", channels=9) != first
    assert made("d", edited('group = "E(3)"', 'group = "E(3)"\n    numerics = 2')) != first


def test_planning_does_not_import_what_is_not_asked_for(tmp_path: Path) -> None:
    """A file that cannot be imported disturbs no other architecture."""
    folder = folder_with(tmp_path, "raise SystemError\n", "broken")
    folder_with(tmp_path)
    found = models(plugins.folders(str(folder)))
    assert set(found) == {*MODELS, "broken", "radial"}
    assert found["radial"]().channels == 8  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"broken\.py: cannot be imported: SystemError"):
        found["broken"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plugins=.*/nowhere: no folder is there; accepted: DIR with DIR/models"):
        plugins.folders(str(tmp_path / "nowhere"))


def test_matching_features_needs_widths(tmp_path: Path) -> None:
    config = settings(tmp_path / "a")
    target = weights(settings(tmp_path / "a", channels=21), 2)
    found, record = match_channels(config, ChannelMatchSpec("weights", {}, None, target), 2)
    assert (found.channels, record.mismatch) == (21, 0)  # type: ignore[attr-defined]
    without = settings(tmp_path / "b", edited("def widths(", "def other("))
    assert match_channels(without, ChannelMatchSpec("weights", {}, None, record.target), 2)[1].mismatch == 0
    with pytest.raises(InputError, match=r"widths is missing, and match=features needs it; accepted: match=weights"):
        match_channels(without, ChannelMatchSpec("features", {}, None, 12), 2)
    wrong = settings(tmp_path / "c", edited("return [config.channels]", "return config"))
    with pytest.raises(InputError, match=r"widths returned CONFIG\(.*\); accepted: a list of integers"):
        match_channels(wrong, ChannelMatchSpec("features", {}, None, 12), 2)


def test_a_settings_task_is_a_molecules_task(tmp_path: Path, data: Dataset) -> None:
    problem = Molecules(data)
    assert isinstance(problem.network(settings(tmp_path)), PlainNetwork)
    assert problem.task(TaskSettings(3.0, 1), torch.float64, CPU).cutoff == 3.0
