"""docs/results: pages say what the program says of their tables today, and only what a table lacks is computed."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import groups
from benchmarks.results import __main__ as results
from benchmarks.results import (
    costs,
    depth,
    effects,
    found,
    merged_table,
    outstanding,
    overview,
    pages,
    plateau,
    pooled_claim,
    statements_page,
    symmetry,
    tested_forecasts,
    theory_page,
)
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS, chosen
from benchmarks.results.statements import answers
from experiments.config import tuned_rates
from experiments.core.errors import InputError
from experiments.core.paths import ROOT
from experiments.data.dataset import AnyDataset
from experiments.data.load import dataset_of
from slurm.from_words import configs_of, plan_of

COMMITTED = Place(results.FOLDER, ROOT / "build" / "no-store")
WRITTEN = [name for name in SECTIONS if COMMITTED.table(name).exists()]
SMALL = "nequip_ethanol_small"


@pytest.fixture
def quick(tmp_path: Path) -> Place:
    """A place of its own for reduced grids on the frames that come along."""
    return Place(tmp_path / "tables", tmp_path / "stores", quick=True)


def test_every_folder_with_a_table_is_a_section() -> None:
    assert WRITTEN
    assert {path.parent.name for path in results.FOLDER.glob("*/runs.csv")} <= set(SECTIONS)


@pytest.mark.parametrize("name", [name for name in WRITTEN if SECTIONS[name].data in DATA])
def test_datasets_have_the_names_that_their_tables_use(name: str) -> None:
    """By these names costs, distances and figures find them."""
    assert set(merged_table.read(COMMITTED.table(name))["dataset"]) <= set(DATA[SECTIONS[name].data].tables)


@pytest.mark.parametrize("name", WRITTEN)
def test_page_and_table_agree(name: str) -> None:
    folder = results.FOLDER / name
    assert (folder / "README.md").read_text(encoding="utf-8") == pages.page(name, COMMITTED)
    assert [path.name for path in folder.glob("*.png")] == [SECTIONS[name].figure] * bool(SECTIONS[name].figure)


def test_the_list_names_every_section() -> None:
    text = (results.FOLDER / "README.md").read_text(encoding="utf-8")
    assert text == overview.overview(COMMITTED)
    for name in SECTIONS:
        assert (f"({name}/README.md)" if name in WRITTEN else f"| {name} |") in text


def test_pages_made_of_the_tables_of_others_agree_with_them() -> None:
    folder = results.FOLDER
    statements = statements_page.page(answers(COMMITTED))
    assert (folder / statements_page.NAME / "README.md").read_text(encoding="utf-8") == statements
    told = tested_forecasts.page(tested_forecasts.tested(COMMITTED))
    assert (folder / tested_forecasts.NAME / "README.md").read_text(encoding="utf-8") == told
    assert (folder / theory_page.NAME / "README.md").read_text(encoding="utf-8") == theory_page.page(COMMITTED)
    assert (folder / pooled_claim.NAME / "README.md").read_text(encoding="utf-8") == pooled_claim.page(COMMITTED)
    assert (folder / depth.NAME / "README.md").read_text(encoding="utf-8") == depth.page(COMMITTED)
    worth = effects.page(effects.effects(COMMITTED))
    assert (folder / effects.NAME / "README.md").read_text(encoding="utf-8") == worth


def test_what_was_found_is_what_the_pages_say() -> None:
    """One page of at most 60 lines; the README begins with a sentence of it."""
    text = (ROOT / "docs" / "found.md").read_text(encoding="utf-8")
    assert text == found.page(COMMITTED)
    assert len(text.splitlines()) <= 60
    assert f"{found.BEGINS}{found.sentence(COMMITTED)}{found.ENDS}" in found.README.read_text(encoding="utf-8")


def test_a_part_stands_for_its_sections() -> None:
    assert set(chosen(["claim"])) == {name for name in SECTIONS if name.startswith("claim_")}
    assert chosen([SMALL, "groups"]) == [SMALL, "groups"]
    assert chosen([]) == list(SECTIONS)


def test_an_unknown_section_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(["nequip_ethanol_bpe"]) == 2
    assert "nequip_ethanol_pbe" in capsys.readouterr().err


@pytest.mark.parametrize("name", SECTIONS)
def test_sweeps_are_valid_and_fit_their_data(name: str) -> None:
    """Every sweep composes, on its own dataset; quick ones on what comes along or is computed on the fly."""
    section = SECTIONS[name]
    for words in [*section.sweeps, *section.later]:
        configs = configs_of(shlex.split(words.replace(f"training.tuned={name}", "")))
        assert configs
        if section.data in DATA:
            own = DATA[section.data].overrides.split()[0].removeprefix("data=")
            assert own in (str(configs[0].data["source"]), *map(str, configs[0].data.values())) or own == "mlearn_si"
    for words in section.quick:
        assert {str(config.data["source"]) for config in configs_of(shlex.split(words))} <= {"ethanol_small", "star"}


def test_runs_of_a_table_are_done_without_their_store(quick: Place) -> None:
    """By their ids; a run that lacks a further test set is not done."""
    (words,) = quick.sweeps(SECTIONS[SMALL])
    planned = plan_of(shlex.split(words), dataset_of).runs
    have = planned[::2]
    rows = pd.DataFrame({
        "run_id": [one.run.id for one in have], "test_set": "test", "metric": "force_mae",
    })  # fmt: skip
    path = quick.table(SMALL)
    path.parent.mkdir(parents=True)
    rows.to_csv(path, index=False)
    found = outstanding.outstanding(SMALL, quick)
    assert found.wanted == len(planned)
    assert {(one.L, one.P, one.seed) for one in found.left} == {
        (one.config.L, one.config.P, one.config.seed) for one in planned[1::2]
    }


def test_committed_rows_keep_their_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a store are added in order; one that the table has stays, even where the store's differs."""
    own = pd.read_csv(COMMITTED.table("nequip_acac"), dtype=str, keep_default_na=False)
    path = tmp_path / "runs.csv"
    own[own["P"] != "16"].to_csv(path, index=False)
    from_store = pd.read_csv(COMMITTED.table("nequip_acac"))
    from_store["error"] *= 2
    from_store = from_store[sorted(from_store.columns)]  # another order of columns changes no line
    monkeypatch.setattr(merged_table, "run_table", lambda _: from_store)
    added = merged_table.merge(path, tmp_path)
    after = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert added == (own["P"] == "16").sum()
    assert list(after["run_id"] + after["metric"]) == list(own["run_id"] + own["metric"])
    old = after[after["P"] != "16"].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, own[own["P"] != "16"].reset_index(drop=True))
    new = after[after["P"] == "16"]["error"].astype(float)
    assert list(new) == list(from_store[from_store["P"] == 16]["error"])
    assert set(COMMITTED.table("nequip_acac").read_text().splitlines()) >= {
        line for line, P in zip(path.read_text().splitlines()[1:], after["P"], strict=True) if P != "16"
    }
    assert merged_table.merge(path, tmp_path) == 0


def test_absent_data_are_skipped_by_name(
    quick: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(section: Mapping[str, Any]) -> AnyDataset:
        raise InputError("no network")

    monkeypatch.setattr(outstanding, "dataset_of", refuse)
    assert outstanding.compute(SMALL, quick, 1) == ["ethanol_small: no network"]
    arguments = [SMALL, "--quick", "--out", str(quick.tables), "--store", str(quick.stores)]
    assert results.main(arguments) == 0
    assert f"skipped {SMALL}: ethanol_small: no network" in capsys.readouterr().out


def test_a_section_that_has_hardly_begun_has_a_page(tmp_path: Path) -> None:
    """With cell A alone the claim is refused: the page says so, and the next section is not held up."""
    place = Place(tmp_path, tmp_path)
    table = merged_table.read(COMMITTED.table("claim_acac"))
    path = place.table("claim_acac")
    path.parent.mkdir()
    table[(table["nu"] == "1") & (table["L"] == "0") & (table["seed"] == "0")].to_csv(path, index=False)
    page = pages.write("claim_acac", place)
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert "the claim needs four cells" in text
    assert "**Not run yet.**" in text
    assert text == pages.page("claim_acac", place)


def test_a_larger_budget_only_where_the_smaller_one_still_gained() -> None:
    words = "data=ethanol_small model=mace cell=A,C P=16,32 seed=0,1 training.max_steps=400"
    configs = configs_of(shlex.split(words))
    orders = {0: {"nu": "1", "edge_lmax": "3"}, 1: {"nu": "3", "edge_lmax": "3"}}
    rows = [
        {
            "architecture": "mace", "L": "0", **orders[cell], "n_layers": "2", "cutoff": "5.0", "P": str(P),
            "seed": str(seed), "training.max_steps": "200", "training.augment": "False", "metric": "force_mae",
            "stopped_steps": "200" if cell == 1 or P == 32 else "50",
        }
        for cell in (0, 1) for P in (16, 32) for seed in (0, 1)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    gained = {(one.nu, one.P) for one in configs if outstanding.gained(table, one)}
    assert gained == {(1, 32), (3, 16), (3, 32)}
    rotated = [replace(one, training=replace(one.training, augment=True)) for one in configs if one.training]
    assert len(rotated) == len(configs)
    assert all(outstanding.gained(table, one) for one in rotated)  # none of them has run
    assert all(outstanding.gained(table.iloc[:0], one) for one in configs)


def test_an_outcome_of_a_page_is_that_of_the_protocol_asked_for() -> None:
    of_both = (
        "Ethanol, MACE: the claim HOLDS\n  β: A 1",
        "Ethanol, MACE, stop=validation: the claim IS REFUTED\n  β: A 2",
    )
    text = "\n".join(of_both) + "\n"
    assert pages.outcome_of_claim(text) == ("Ethanol, MACE: the claim HOLDS", "β: A 1")
    assert pages.outcome_of_claim(text, "validation") == (
        "Ethanol, MACE, stop=validation: the claim IS REFUTED", "β: A 2",
    )  # fmt: skip
    assert pages.outcome_of_claim(text.split("Ethanol, MACE, stop")[0], "validation") is None


def test_a_plateau_has_of_every_size_the_largest_budget_that_all_seeds_have() -> None:
    """Under one id a network, also where larger budgets were run at some P alone, or not for all seeds yet."""
    keys = {"architecture": "mace", "L": "0", "nu": "3", "edge_lmax": "3", "n_layers": "2", "cutoff": "5.0"}
    rows = [
        {**keys, "run_id": f"{P}-{seed}-{steps}", "model_id": f"of {steps}", "P": P, "seed": seed,
         "training.max_steps": steps, "metric": metric}
        for P, seed, steps in (
            ("16", "0", "4000"), ("16", "1", "4000"), ("32", "0", "4000"), ("32", "1", "4000"),
            ("32", "0", "16000"), ("32", "1", "16000"), ("32", "0", "64000"),
        )
        for metric in ("force_mae", "energy_mae")
    ]  # fmt: skip
    found = plateau.plateau(pd.DataFrame(rows))
    assert list(found["run_id"].unique()) == ["16-0-4000", "16-1-4000", "32-0-16000", "32-1-16000"]
    assert len(found) == 8
    assert set(found["model_id"]) == {"of 4000"}


@pytest.mark.parametrize("name", [name for name in WRITTEN if SECTIONS[name].only_gaining])
def test_a_plateau_is_of_its_runs(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    shutil.copy(COMMITTED.table(name), tmp_path / name)
    plateau.write(name, Place(tmp_path, tmp_path))
    written = plateau.table_of(name, COMMITTED).read_bytes()
    assert written == plateau.table_of(name, Place(tmp_path, tmp_path)).read_bytes()


def test_rates_are_tuned_first_and_larger_budgets_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tuning sweep, its file, then the budgets one after the other; what no longer gains is not trained on."""
    own = "data=star data.pool=60 data.holdout=8 data.test=16 model=mace nu=2 L=0 model.channels=2 model.n_layers=1"
    own += " model.edge_lmax=1 model.radial_hidden=[4] training.compile=false training.warmup_steps=4 seed=0"
    section = replace(
        SECTIONS["trained_ethanol_pbe"],
        tuned=f"+sweep=tune {own} P=8 training.max_steps=16 training.learning_rate=1e-2,4e-2",
        sweeps=tuple(f"{own} P=8,16 training.max_steps={budget} training.tuned=trial" for budget in (16, 32)),
    )
    monkeypatch.setitem(SECTIONS, "trial", section)
    monkeypatch.setattr(tuned_rates, "FOLDER", tmp_path)
    place = Place(tmp_path / "tables", tmp_path / "stores")
    found = outstanding.outstanding("trial", place)
    assert (len(found.left), found.wanted) == (6, 6)
    monkeypatch.setattr(outstanding, "gained", lambda table, config: config.P == 8 or config.training.max_steps == 16)
    assert outstanding.compute("trial", place, 1) == []
    assert (tmp_path / "trial.yaml").exists()
    table = merged_table.read(place.table("trial")).drop_duplicates("run_id")
    assert sorted(zip(table["P"], table["training.max_steps"], strict=True)) == [("16", "16"), ("8", "16"), ("8", "32")]
    assert set(table["training.learning_rate"]) <= {"0.01", "0.04"}
    assert [one.P for one in outstanding.outstanding("trial", place).left] == [16]


def test_costs_of_one_dataset_tell_those_of_another() -> None:
    """Within a factor of two for all runs of a sweep together: an estimate of hours, not of minutes."""
    for kind in ("nequip", "mace"):
        told = costs.Costs([COMMITTED.table(f"{kind}_ethanol_pbe")])
        runs = pd.read_csv(COMMITTED.table(f"{kind}_acac")).drop_duplicates("run_id")
        configs = list(pages.wanted(f"{kind}_acac", COMMITTED).values())
        mine = [one for one in configs if one.seed in set(runs["seed"])]
        hours, unknown = told.hours(mine, "acac")
        assert unknown == 0
        assert 0.5 < hours * 3600 / runs["cpu_seconds"].sum() < 2


def test_ladders_that_are_partly_there_are_completed(quick: Place) -> None:
    """Without the store, with small P in the table: only the rest is computed, and the digits agree to round-off."""
    arguments = [SMALL, "--quick", "--workers", "1", "--out", str(quick.tables)]
    assert results.main([*arguments, "--store", str(quick.stores)]) == 0
    whole = merged_table.read(quick.table(SMALL))
    kept = whole[whole["P"].isin(["4", "32"])]
    kept.to_csv(quick.table(SMALL), index=False)
    assert results.main([*arguments, "--store", str(quick.stores / "other")]) == 0
    again = merged_table.read(quick.table(SMALL))
    new = {path.name for path in (quick.stores / "other" / SMALL).iterdir() if (path / "result.json").exists()}
    assert new == set(whole["run_id"]) - set(kept["run_id"])
    assert list(again["run_id"]) == list(whole["run_id"])
    # of a ladder with other sizes the Gram matrix is the same up to the order of sums
    assert list(again["error"].astype(float)) == pytest.approx(list(whole["error"].astype(float)), rel=1e-6)
    page = (quick.tables / SMALL / "README.md").read_text(encoding="utf-8")
    assert page == pages.page(SMALL, quick)
    assert "Not run yet" not in page


@pytest.mark.long
def test_make_results_quick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part, from nothing, without a network: nothing is skipped, nothing is left."""
    arguments = ["--quick", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "stores")]
    assert results.main(arguments) == 0
    assert "skipped" not in capsys.readouterr().out
    place = Place(tmp_path / "out", tmp_path / "stores", quick=True)
    assert {SECTIONS[name].part for name in place.sections()} == set(overview.PARTS)
    for name in place.sections():
        assert not outstanding.outstanding(name, place).left
    for name in (*results.DERIVED, *place.sections()):
        assert (place.tables / name / "README.md").exists() or name == pooled_claim.NAME  # one dataset: nothing to pool


def test_the_page_on_groups_has_the_table_of_its_runs() -> None:
    """And what was found counts the same changes of exponents."""
    page = (ROOT / "docs" / "groups.md").read_text(encoding="utf-8")
    table = groups.text_of(groups.TABLE)
    assert table in page
    assert groups.text_of(groups.CONTROL) in page
    told = symmetry.headline("groups", COMMITTED)
    rises, falls, pairs = table.count("| rises |"), table.count("| falls |"), table.count(" / ")
    assert f" of {pairs - 1} pairs; β rises with it in {rises} and falls in {falls}," in told
    assert "perceptron (none)" in page  # networks without a symmetry are there, too


def test_networks_without_a_twin_say_nothing_of_groups(tmp_path: Path) -> None:
    table = pd.read_csv(COMMITTED.table("groups_control"), low_memory=False)
    (tmp_path / "groups_control").mkdir()
    table[table["model_id"] == table["model_id"].iloc[0]].to_csv(tmp_path / "groups_control" / "runs.csv", index=False)
    assert symmetry.headline("groups_control", Place(tmp_path, tmp_path)) == ""
    assert symmetry.headline("groups", Place(tmp_path, tmp_path)) == ""


def test_a_missing_table_of_groups_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert groups.main(["--table", str(tmp_path / "no.csv")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
