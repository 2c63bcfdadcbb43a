"""Points become runs: all composed, checked and named before anything starts; and as Hydra itself would."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from experiments.config.channel_match import ChannelMatch
from experiments.config.parse import LacksKnob, parse
from experiments.core.errors import InputError
from experiments.data.dataset import AnyDataset, Frames
from experiments.data.load import load
from slurm.grid import expand
from slurm.plan import Composer, Plan, plan
from tests.slurm.test_sweeps import PAPERS, PUBLISHED

Master = Callable[..., DictConfig]
TINY = (
    "data=star", "data.n_neighbours=3", "data.coefficients=[1.0]", "data.pool=60", "data.holdout=6", "data.test=16",
)  # fmt: skip


class Loads:
    """Loads each dataset once."""

    def __init__(self) -> None:
        self.made: dict[str, AnyDataset] = {}

    def __call__(self, section: Mapping[str, Any]) -> AnyDataset:
        key = repr(sorted(section.items()))
        if key not in self.made:
            self.made[key] = load(section)
        return self.made[key]


@pytest.fixture
def planned(loader: ConfigLoader, master: Master, tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a command line."""

    def make(*arguments: str, grids: Sequence[Mapping[str, Any]] = (), loads: Any = None) -> Plan:
        composer = Composer(loader, master())
        points = expand([f"store={tmp_path / 'store'}", *TINY, *arguments], grids)
        return plan(composer, points, loads or Loads())

    return make


# --- planning


def test_runs_are_distinct_and_in_order(planned: Callable[..., Plan]) -> None:
    made = planned("P=4,8", "L=0,1", "seed=0,1", "nu=2")
    assert [(p.config.P, p.config.L, p.config.seed) for p in made.runs] == [
        (P, L, seed) for P in (4, 8) for L in (0, 1) for seed in (0, 1)
    ]
    assert len({p.run.id for p in made.runs}) == 8
    assert len({p.model_id for p in made.runs}) == 2
    assert made.dropped == []


def test_different_words_for_the_same_run_are_one_run(planned: Callable[..., Plan]) -> None:
    made = planned("P=4", grids=[{"seed": [0, 1]}, {"seed": 1, "data.subset_seed": [None, 1]}, {"model.cutoff": [5]}])
    assert len(made.runs) == 2
    first, second = (p.run.id for p in made.runs)
    assert made.of_point == {0: first, 1: second, 2: second, 3: second, 4: first}


def test_a_knob_that_a_model_lacks_drops_the_point_and_is_listed(planned: Callable[..., Plan]) -> None:
    made = planned("model=mace,ace", "L=0,1", "P=4", "nu=2")
    assert [(p.config.model.architecture, p.config.L) for p in made.runs] == [("mace", 0), ("mace", 1), ("ace", None)]
    assert made.dropped == ["L=1: model=ace has no L; accepted: null or 0"]
    assert made.of_point == {number: p.run.id for number, p in enumerate(made.runs)}  # the fourth point has none


def test_cells(planned: Callable[..., Plan]) -> None:
    made = planned("cell=A,B,C,D", "P=4")
    found = {(p.config.L, p.config.nu, getattr(p.config.model, "edge_lmax", None)) for p in made.runs}
    assert found == {(0, 1, 3), (1, 1, 3), (0, 3, 3), (0, 3, 0)}
    made = planned("cell=C", "P=4", "model.edge_lmax=2")  # the command line has the last word
    assert [getattr(p.config.model, "edge_lmax", None) for p in made.runs] == [2]


def test_a_gpu_that_is_asked_for_and_not_used_is_noted_once(planned: Callable[..., Plan]) -> None:
    made = planned("model=mace,ace", "P=4,5", "nu=2", "device=cuda")
    assert [p.config.device for p in made.runs] == ["cuda", "cuda", "cpu", "cpu"]
    assert made.notes == ["model=ace: fitted in closed form on the CPU; device=cuda uses and holds no GPU for it"]
    assert not planned("model=ace", "P=4", "nu=2", "device=auto").notes


def test_channels_are_matched_to_a_reference(planned: Callable[..., Plan]) -> None:
    """Each point has the channels of its own L; what has no channels is dropped and listed."""
    made = planned("model=mace,nequip,ace", "L=0,1,2", "P=4", "match=weights", "reference.L=2")
    found = {(p.config.model.architecture, p.config.L): p.config.match for p in made.runs}
    assert set(found) == {(name, L) for name in ("mace", "nequip") for L in range(3)}
    for (_, L), match in found.items():
        assert isinstance(match, ChannelMatch)
        assert match.mismatch == 0 if L == 2 else 0 < abs(match.mismatch) < 0.05
    assert "match=weights: model=ace has no channels to choose; accepted: null" in made.dropped
    for p in made.runs:
        assert f"channels={getattr(p.config.model, 'channels', None)} (" in p.line()
    plain = planned("model=mace", "L=2", "P=4")
    assert plain.runs[0].run.id in {p.run.id for p in made.runs}  # its own reference: the run as it was


def test_all_errors_at_once_each_once_and_before_data(planned: Callable[..., Plan], tmp_path: Path) -> None:
    def never(section: Mapping[str, Any]) -> AnyDataset:
        raise AssertionError("data were asked for though the sweep cannot start")

    with pytest.raises(InputError) as error:
        planned("P=4,0", "nu=2,7", "seed=0,1,2", loads=never)
    assert str(error.value).splitlines() == [
        "nu=7: accepted: an integer from 1 to 3",
        "P=0: accepted: an integer ≥ 1",
    ]
    assert not (tmp_path / "store").exists()


def test_P_beyond_the_pool(planned: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"^P=61: the pool holds 60 frames, and \d+ are .* \(data.holdout\); accepted: an integer from 1 to 60$",
    ):
        planned("P=4,61", "seed=0,1")
    assert not (tmp_path / "store").exists()


def test_unwritable_store_is_found_before_data(planned: Callable[..., Plan], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def never(section: Mapping[str, Any]) -> AnyDataset:
        raise AssertionError("data were asked for though the sweep cannot start")

    with pytest.raises(InputError, match=r"store=.*file/runs: .*file is no directory; accepted: a directory"):
        planned("P=4", f"store={tmp_path}/file/runs", loads=never)


def test_a_dataset_is_digested_once(planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    digest, count = Frames.sha256, []

    def counted(self: Frames) -> str:
        count.extend([self] if len(self) == 60 else [])
        return digest(self)

    monkeypatch.setattr(Frames, "sha256", counted)
    assert len(planned("P=1,2,3,4", "seed=0,1,2,3").runs) == 16
    assert len(count) == 1


# --- composing


def test_a_thousand_points_take_two_compositions(loader: ConfigLoader, master: Master) -> None:
    """Hydra is asked once for each choice of groups, not for each point."""
    base, count = master(), []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(loader, name)

        def load_sweep_config(self, *arguments: Any) -> DictConfig:
            count.append(arguments)
            return loader.load_sweep_config(*arguments)

    composer = Composer(Counting(), base)  # type: ignore[arg-type]
    for point in expand(["model=mace,ace", "P=range(1,51)", "seed=range(0,10)"], []):
        composer(point)
    assert len(count) == 2


def test_points_do_not_see_each_other(loader: ConfigLoader, master: Master) -> None:
    composer = Composer(loader, master())
    first = composer(["P=3", "model.radial_hidden=[1,2]"])
    before = copy.deepcopy(first)
    first["model"]["channels"] = -1
    second = composer(["P=4"])
    assert second["P"] == 4
    assert second["model"]["channels"] == before["model"]["channels"]
    assert second["model"]["radial_hidden"] != [1, 2]


CHOICES: dict[str, list[str]] = {
    "data": ["star", "ethanol", "methanol"],
    "model": ["mace", "ace"],
    "cell": ["A", "B", "C", "D"],
    "P": ["1", "100"],
    "L": ["null", "0", "2"],
    "nu": ["1"],
    "seed": ["0", "${P}", "2147483647"],
    "store": ["runs", "'a b/c'", '"d,e"'],
    "model.cutoff": ["4", "4.5", "1e1"],
    "data.subset_seed": ["null", "3", "${seed}"],
    "training.max_steps": ["10", "${P}"],
    "training.learning_rate": ["1e-3", "0.01"],
    "training.compile": ["true", "false"],
    "training.init_seed": ["null", "5"],
}


@pytest.mark.parametrize("seed", range(25))
def test_composed_as_hydra_does(loader: ConfigLoader, master: Master, seed: int) -> None:
    draw = random.Random(seed)
    keys = draw.sample(list(CHOICES), draw.randint(1, 8))
    point = [f"{key}={draw.choice(CHOICES[key])}" for key in keys]
    base = master()
    theirs = OmegaConf.to_container(loader.load_sweep_config(base, point))
    assert isinstance(theirs, dict)
    theirs.pop("hydra", None)
    resolved = OmegaConf.to_container(OmegaConf.create(theirs), resolve=True)
    assert Composer(loader, base)(point) == resolved, point


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (["model=nequip2"], "model=nequip2: no such choice (did you mean nequip?); accepted: "),
        (["data=nothing"], "data=nothing: no such choice; accepted: "),
        (
            ["modle.channels=3"],
            "modle.channels: unknown key (did you mean model.channels?); accepted: data, model, training, P, L",
        ),
        (
            ["model.chanels=3"],
            "model.chanels: unknown key (did you mean model.channels?); accepted: architecture",
        ),
        (["model=ace", "model.channels=3"], "model.channels: unknown key beside model=ace; accepted: architecture"),
        (
            ["model=ace", "n_radial=3"],
            "n_radial: unknown key beside model=ace (did you mean model.n_radial?); accepted: data",
        ),
        (["Pp=3"], "Pp: unknown key (did you mean P?); accepted: "),
        (["P=[1"], "P=[1: "),
        (["seed=${nothing}"], "nothing"),
        (["model=0.5"], "model=0.5: no such choice; accepted: "),
        (["data=null"], "data=null: no such choice; accepted: "),
        (["model=[1]"], "model=[1]: no such choice; accepted: "),
    ],
    ids=str,
)
def test_bad_points_have_one_line(loader: ConfigLoader, master: Master, point: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        Composer(loader, master())(point)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_unknown_keys_of_a_point_come_at_once(loader: ConfigLoader, master: Master) -> None:
    with pytest.raises(InputError) as error:
        Composer(loader, master())(["model.chanels=3", "P=4", "Pp=3"])
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["model.chanels", "Pp"]


@pytest.mark.parametrize("name", sorted(p.stem for p in (Path(__file__).parents[2] / "conf" / "sweep").glob("*.yaml")))
def test_named_sweeps_compose(loader: ConfigLoader, master: Master, name: str) -> None:
    """Every point of every named sweep is valid, at one seed (P against the pool apart, which needs the data)."""
    if name in PAPERS and not PUBLISHED.exists():
        pytest.skip("this version knows no published data sets")
    base = master(f"+sweep={name}")
    assert base.hydra.mode.name == "MULTIRUN"
    points = expand([f"+sweep={name}"], base.hydra.sweeper.grids)
    assert points
    composer, kept = Composer(loader, base), 0
    for point in {tuple(text for text in point if not text.startswith("seed=")): point for point in points}.values():
        try:
            parse(composer(point))
            kept += 1
        except LacksKnob:
            continue
    assert kept
