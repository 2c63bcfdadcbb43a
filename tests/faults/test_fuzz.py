"""Thousands of damaged files, tables and command lines: refused in a line, warned of, or read rightly.

Never a traceback, a hang, or a result that is half written. A slice of each campaign is part of the ordinary suite;
`make test-faults` has the whole. EQUILAW_FUZZ=NUMBER repeats one case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from analysis import cli
from experiments.config.channel_match import ChannelMatchSpec
from experiments.config.mistakes import mistakes_of
from experiments.config.parse import parse
from experiments.core import command
from experiments.core.errors import InputError
from experiments.core.paths import CONF
from experiments.core.schema import build
from experiments.data.sources.extxyz import ExtxyzConfig, extxyz, read_frames, write_frames
from slurm.grid import expand
from slurm.plan import Composer
from slurm.settings import LocalSettings, SlurmSettings
from tests.faults.fuzzing import ONE, campaign, mutate

SLICE = 50
"""Cases of a campaign in the ordinary suite."""


def sizes(whole: int) -> pytest.MarkDecorator:
    """Run the slice always, the whole where fault campaigns run."""
    return pytest.mark.parametrize("cases", [SLICE, pytest.param(whole, marks=pytest.mark.faults)])


# --- frames

KEYS = (
    b"Properties", b"Lattice", b"pbc", b"energy", b"forces", b"species", b"pos", b"config_type", b"stress", b"Z", b"S",
    b"R", b"I", b"L", b"H", b"D", b"X", b"Og", b"T", b"F", b"free_energy", b"numbers", b"cell", b"charge", b"masses",
)  # fmt: skip


def molecule(draw: random.Random, frames: int, periodic: bool) -> bytes:
    """Return the text of frames of water, some with a free atom, as people write them."""
    lines = []
    for _ in range(frames):
        x = [[draw.uniform(-0.1, 0.1) + shift for shift in at] for at in ([0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0])]
        energy = -14.2 + draw.uniform(0, 0.3)
        cell = 'Lattice="6.0 0 0 0 6.0 0 0 0 6.0" pbc="T T T" ' if periodic else 'pbc="F F F" '
        extra = draw.choice(("", "config_type=md ", 'stress="1 0 0 0 1 0 0 0 1" ', "charge=0 "))
        lines += ["3", f"{cell}{extra}Properties=species:S:1:pos:R:3:forces:R:3 energy={energy:.8f}"]
        for symbol, at in zip("OHH", x, strict=True):
            values = [*at, *(draw.gauss(0, 0.6) for _ in range(3))]
            lines.append(f"{symbol} " + " ".join(f"{value:.8f}" for value in values))
    return ("\n".join(lines) + "\n").encode()


def frames_case(draw: random.Random, folder: Path) -> str:
    periodic = draw.random() < 0.3
    good = molecule(draw, 6, periodic)
    (folder / "train.xyz").write_bytes(mutate(good, draw, KEYS))
    (folder / "test.xyz").write_bytes(molecule(draw, 2, periodic))
    config = ExtxyzConfig(train=str(folder / "train.xyz"), test=str(folder / "test.xyz"), holdout_frames=1)
    try:
        with np.errstate(all="raise", under="ignore"):
            dataset = extxyz(config)
    except InputError as error:
        one_line(str(error))
        return "refused"
    for part in (dataset.pool, dataset.holdout, dataset.test):
        real = part.numbers > 0
        assert real.any(1).all(), "a frame without atoms"
        assert np.isfinite(part.energies).all()
        assert np.isfinite(part.positions).all()
        assert np.isfinite(part.forces).all()
        assert not part.positions[~real].any()
    write_frames(folder / "again.xyz", dataset.pool)
    again = read_frames(folder / "again.xyz")
    for name in ("numbers", "positions", "energies", "forces", "cells", "pbc"):
        atoms = again.numbers.shape[1]  # the pool may be padded to the test frames
        mine = getattr(dataset.pool, name)
        mine = mine[:, :atoms] if name in ("numbers", "positions", "forces") else mine
        assert np.array_equal(getattr(again, name), mine), name
    assert len(dataset.pool) <= 11  # a file read half a second time has nine
    return "read"


@sizes(2000)
def test_frames(cases: int, tmp_path: Path) -> None:
    counts = campaign("frames", cases, tmp_path, frames_case)
    assert_each(counts, ("read", "refused"), cases // 10)  # damage that says something


# --- tables

HEADERS = (
    b"P", b"n_train", b"error", b"MAE", b"rmse", b"seed", b"dataset", b"architecture", b"model", b"metric", b"unit",
    b"L", b"nu", b"model_id", b"test_set", b"accuracy", b"force_mae", b"energy_mae", b"error_sd", b"n_runs", b"line",
    b"converged", b"n_test", b"error_half_budget", b"mace", b"$x_1$", b"NA", b"meV/A", b"eV",
    b"ridge_at_floor", b"P.1", b"index", b"verdict", b"n_validation", b"training.learning_rate", b"subset_sha256",
)  # fmt: skip


def table(draw: random.Random) -> pd.DataFrame:
    """Return a run table of two curves."""
    rows = [
        {"dataset": "ethanol", "architecture": name, "L": L, "metric": "force_mae", "P": P, "seed": seed,
         "error": round((0.5 + 0.1 * L) * P ** (-0.3 - 0.2 * L) * (1 + draw.gauss(0, 0.03)), 6), "unit": "eV/Å",
         "error_half_budget": "", "converged": "true"}
        for name, L in (("mace", 0), ("nequip", 1)) for P in (8, 16, 32, 64) for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def written(frame: pd.DataFrame, draw: random.Random) -> tuple[bytes, list[str]]:
    """Return the table in one of the forms that the program reads, and the options that it needs there."""
    match draw.randrange(8):
        case 0:
            return frame.to_csv(index=False, sep=";", decimal=",").encode(), []
        case 1:
            return frame.to_csv(index=False, sep="\t").encode(), []
        case 2:
            return frame.to_json(orient="records", lines=True).encode(), []
        case 3:
            file = io.BytesIO()
            frame.to_parquet(file, index=False)
            return file.getvalue(), []
        case 4:
            wide = frame.pivot_table(index=["P", "seed"], columns="architecture", values="error").reset_index()
            return wide.to_csv(index=False).encode(), ["--wide"]
        case 5:
            means = frame.groupby(["dataset", "architecture", "L", "metric", "P"], as_index=False)["error"].mean()
            means["error"] = [f"{error:.4f} ± 0.01 (2)" for error in means["error"]]
            return means.to_csv(index=False).encode(), []
        case _:
            return frame.to_csv(index=False).encode(), draw.choice(([], ["--drop-bad"], ["--curve-by", "unit"]))


def tables_case(draw: random.Random, folder: Path) -> str:
    content, options = written(table(draw), draw)
    path, out = folder / "t.csv", folder / "fits.json"
    path.write_bytes(mutate(content, draw, HEADERS))
    code, said = answered(["fit", "--table", str(path), *options, "--forms", "power", "--json", str(out)])
    assert code in (0, 1, 2), code
    assert list(folder.glob(".*")) == [], "a temporary file is left"
    if code == 2:
        assert not out.exists()
        assert "python -m analysis: " in said
        return "refused"
    if code == 1:
        assert "python -m analysis: " in said, said
        return "not fitted"
    fits = json.loads(out.read_text(), parse_constant=lambda text: pytest.fail(f"{text} in JSON"))
    assert fits
    for fit in fits:
        assert {"dataset", "architecture", "metric", "form", "beta", "status"} <= set(fit)
        assert fit["beta"] is None or abs(fit["beta"]) < 1e4
    return "fitted"


def answered(words: list[str]) -> tuple[int, str]:
    """Return the exit code of a command of the analysis and what it said on stderr."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = cli.main(words)
    assert "Traceback" not in stderr.getvalue()
    return code, stderr.getvalue()


@sizes(2000)
def test_tables(cases: int, tmp_path: Path) -> None:
    counts = campaign("tables", cases, tmp_path, tables_case)
    assert_each(counts, ("fitted", "refused"), cases // 10)


# --- configurations

VALUES = (
    "0", "1", "-1", "8", "16", "100000000000000000000", "1e5", "0.5", "-0.5", "nan", "inf", "null", "true", "false",
    "''", "' '", "abc", "~", "~/x", "$HOME/x", "[]", "[1,2]", "[[1]]", "[a,null]", "{}", "{a: 1}", "{a: {b: [1]}}",
    "'[32,32]'", "1,2", "16, 32", "range(3)", "interval(1,2)", "glob(*)", "choice(1,2)", "int(3)", "str(3)", "8..16",
    "${P}", "${nope}", "${oc.env:HOME}", "${oc.env:NOPE}", "${", "}", "???", "é", "😀", "a b", "a=b", "a:b", "a#b",
    "'", '"', "\\", "a\\", "\t", "1_000", "0x10", "1.5e400", "-0", "on", "weights", "ethanol", "mace", "ntk", "adam",
    "..", "/", "/dev/null", "x" * 300, "@", "+", "2024-01-01", "1:30",
)  # fmt: skip
GOOD = (
    "P=16", "seed=1", "P=16,32 seed=0,1", "seed=8:0..3,16:0 P=8,16", "L=0,1", "model=mace,nequip", "L=0", "nu=2",
    "model=nequip", "model=krr L=null nu=null", "data=star", "data=ethanol_small", "model.channels=8", "device=cpu",
    "training.max_steps=50", "training.batch_size=2", "data.subset_seed=3", "model.cutoff=4", "training.tuned=null",
    "match=weights reference.channels=16", "training.init_seed=7", "cell=A",
)  # fmt: skip
"""Overrides that are right by themselves."""
GROUPS = ("data", "model", "training", "sweep", "hydra/launcher", "hydra/sweeper")


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Every key of the default run and of some others, and keys that do not exist."""
    found: dict[str, None] = {}
    for words in ([], ["model=ntk"], ["model=krr", "data=ethanol_small"], ["data=star", "model=ace"]):
        for key, value in composed(words).items():
            found[key] = None
            found.update(dict.fromkeys(f"{key}.{inner}" for inner in (value if isinstance(value, dict) else ())))
    return [*found, *GROUPS, *GROUPS, "p", "L.x", "P.x", "modle.channels", "nope", "data.nope", "reference.L", "match"]


def composed(words: list[str]) -> dict[str, Any]:
    """Return the configuration of a run as `python -m experiments` composes it, without its process."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        content = OmegaConf.to_container(compose("config", words), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def swept(words: list[str]) -> list[dict[str, Any]]:
    """Return the first configurations of a sweep, as `python -m experiments -m` composes them."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        compose_point = Composer(loader, loader.load_configuration("config", words, run_mode=RunMode.MULTIRUN))
        return [compose_point(point) for point in expand(words, [])[:3]]


def words_of(draw: random.Random, keys: list[str]) -> list[str]:
    """Return a few words of a command line, right ones among them."""
    words = [word for _ in range(draw.randrange(3)) for word in draw.choice(GOOD).split()]
    if draw.random() < 0.2:
        return words
    for _ in range(draw.choice((1, 1, 2, 3))):
        sign = draw.choice(("", "", "", "", "", "+", "++", "~"))
        key = draw.choice(keys)
        key = draw.choice((key, key, key, key[:-1], key.upper(), key + "x", key + "."))
        words.append(draw.choice((f"{sign}{key}={draw.choice(VALUES)}",) * 9 + (f"{sign}{key}",)))
    return words


def configuration_case(draw: random.Random, keys: list[str]) -> str:
    words = words_of(draw, keys)
    if draw.random() < 0.2:
        return settings_case(draw)
    try:
        quoted = [command.quoted(word) for word in words]
        contents = swept(quoted) if draw.random() < 0.4 else [composed(quoted)]
        for config in map(parse, contents):
            if not isinstance(config.match, ChannelMatchSpec):  # it has no name before its channels are known
                assert parse(config.as_dict()).run_id("0" * 64) == config.run_id("0" * 64), words
    except InputError as error:
        one_line(str(error))
        return "refused"
    except (HydraException, OmegaConfBaseException) as error:
        one_line(mistakes_of(quoted, error))
        return "refused by Hydra"
    return "accepted"


def settings_case(draw: random.Random) -> str:
    """A launcher's settings, with values as YAML reads them."""
    cls: Any = draw.choice((SlurmSettings, LocalSettings))
    names = [field.name for field in dataclasses.fields(cls)]
    section: dict[str, Any] = {}
    for _ in range(draw.choice((1, 2, 3))):
        with contextlib.suppress(yaml.YAMLError):
            value = yaml.safe_load(draw.choice(VALUES))
            section[draw.choice(names)] = draw.choice((value, value, {"gres": value}, {"mem": value, "gpus": value}))
    try:
        settings = build(cls, section, "hydra.launcher.")
    except InputError as error:
        one_line(str(error))
        return "settings refused"
    if isinstance(settings, SlurmSettings):
        assert settings.minutes >= 1
        assert settings.cores("cuda") >= 1
    return "settings accepted"


@sizes(1000)
def test_configurations(cases: int, tmp_path: Path, keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counts = campaign("configurations", cases, tmp_path / "cases", lambda draw, _: configuration_case(draw, keys))
    assert_each(counts, ("accepted", "refused", "refused by Hydra"), cases // 50)


def assert_each(counts: Mapping[str, int], words: tuple[str, ...], least: int) -> None:
    """A campaign that meets one outcome alone tests little; a single case that is repeated has but one."""
    assert ONE in os.environ or min(counts.get(word, 0) for word in words) > least, counts


def one_line(message: str) -> None:
    """A refusal is lines of text, none of them empty or a dump."""
    assert message.strip()
    for line in message.splitlines():
        assert line.strip(), repr(message)
        assert len(line) < 2000, len(line)
    assert not re.search(r"Traceback|object at 0x", message), message
