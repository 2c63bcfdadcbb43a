"""The run table: one row per finished run and metric, from the results in a store (torch-free)."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from experiments.config.training import TrainingConfig
from experiments.core.errors import InputError
from experiments.core.kinds import FILE_SOURCES
from experiments.core.wording import per_atom
from experiments.runs.evaluations import on_axis
from experiments.runs.store import Run, RunStore

logger = logging.getLogger(__name__)

COLUMNS = (
    "run_id", "model_id", "dataset", "test_set", "architecture", "group", "L", "edge_lmax", "nu", "n_layers",
    "channels", "cutoff", "P", "seed", "subset_seed", "init_seed", "metric", "unit", "error", "error_test_sem",
    "train_error", "error_half_budget", "error_quarter_budget", "converged", "verdict", "n_parameters", "n_steps",
    "seconds", "device", "code_version",
    "data_limited", "subsets_disjoint", "too_short", "learned", "mean_error", "holdout_error", "training.max_steps",
    "training.learning_rate", "training.optimizer", "training.batch_size", "training.tuned", "n_updates", "cpu_seconds",
    "training.augment", "n_features", "match.by", "match.target", "match_mismatch",
    "dataset_sha256", "n_test", "model.copies", "ridge_at_floor", "training.stop", "error_stopped",
    "error_stopped_half_budget", "stopped_steps", "n_validation", "n_atoms",
)  # fmt: skip
"""The columns in their order; a column that an old result lacks is empty in its rows. After them come all further
settings of the models and of the training (`setting_columns`), by name."""

ENERGIES = (
    "error", "error_test_sem", "train_error", "error_half_budget", "error_quarter_budget", "mean_error",
    "holdout_error", "error_stopped", "error_stopped_half_budget",
)  # fmt: skip
PER_METRIC = ("unit", *ENERGIES, "converged", "verdict", "data_limited", "learned")
INTEGERS = (
    "L", "edge_lmax", "nu", "n_layers", "channels", "P", "seed", "subset_seed", "init_seed", "n_parameters",
    "training.max_steps", "training.batch_size", "n_updates", "n_features", "match.target", "n_test", "model.copies",
    "stopped_steps", "n_validation", "n_atoms",
)  # fmt: skip

COLUMNS_OF_OWN = frozenset({"architecture", "of", "edge_lmax", "n_layers", "channels", "cutoff", "init_seed", "tuned"})
"""Settings in columns without a section's name, or in one of their outcome."""


def setting_columns(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting that may distinguish two curves, by column: `model.kernel`, `training.ema_decay`.

    Args:
        content: a run's resolved configuration, as `config.yaml` has it; lists become text.
    """
    left_out = COLUMNS_OF_OWN | {f.name for f in fields(TrainingConfig) if not f.metadata["identity"]}
    return {
        f"{section}.{name}": json.dumps(value) if isinstance(value, list) else value
        for section in ("model", "training")
        for name, value in (content.get(section) or {}).items()
        if name not in left_out
    }


def rows_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a result's rows, one a metric with the run's own columns; results are in eV, the table in meV.

    P counts the validation frames too of a run that chose its schedule by them.
    """
    matched = result.get("match") or {}
    # the first two are settings, by which curves can be compared; the third is the outcome
    control = {"match.by": "by", "match.target": "target", "match_mismatch": "mismatch"}
    at_floor = (result.get("fit") or {}).get("ridge_at_floor")
    result = {**result, "ridge_at_floor": at_floor, **{column: matched.get(key) for column, key in control.items()}}
    further = [name for name in result if name.startswith(("model.", "training.")) and name not in COLUMNS]
    shared = {column: result.get(column) for column in (*COLUMNS, *further) if column not in (*PER_METRIC, "metric")}
    if shared["training.max_steps"] is not None and shared["training.stop"] is None:
        shared["training.stop"] = "budget"  # a result from before there was another
    if shared["training.stop"] == "validation":
        shared["P"] = result["P"] + result["n_validation"]
    rows = []
    for metric, values in result["by_metric"].items():
        own = {column: values.get(column) for column in PER_METRIC}
        own["unit"] = per_atom(metric, own["unit"])
        if own["unit"].startswith("eV"):
            own["unit"] = f"m{own['unit']}"
            own |= {column: None if own[column] is None else 1000 * own[column] for column in ENERGIES}
        rows.append({**shared, "metric": metric, **own})
    return rows


def _told_apart(results: Sequence[tuple[Run, Mapping[str, Any]]]) -> list[tuple[Run, Mapping[str, Any]]]:
    """Give different data of one name names of their own: a user's files are named by folder and file alone.

    Data that have a name by choice (`data.name`, a named set with another pool) keep it: their curves are compared.
    """
    contents: dict[str, set[str]] = {}
    for _, result in results:
        contents.setdefault(str(result.get("dataset")), set()).add(str(result.get("dataset_sha256")))
    several = {name for name, digests in contents.items() if len(digests) > 1}
    told: list[tuple[Run, Mapping[str, Any]]] = []
    renamed: set[str] = set()
    for run, result in results:
        name = str(result.get("dataset"))
        if name in several and _named_by_its_file(run):
            renamed.add(name)
            result = {**result, "dataset": f"{name}@{str(result.get('dataset_sha256'))[:6]}"}
        told.append((run, result))
    for name in sorted(renamed):
        logger.warning(
            "%s names %d different sets of data; their names get the first digits of their content's hash (data.name=… "
            "names them better)",
            name,
            len(contents[name]),
        )
    return told


def _named_by_its_file(run: Run) -> bool:
    try:
        data = run.config().get("data")
    except InputError:
        return False
    return isinstance(data, dict) and data.get("source") in FILE_SOURCES and not data.get("name")


def _with_settings(run: Run, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result with all its settings; earlier ones stand in the run's configuration alone."""
    if any(name.startswith("model.") and name not in COLUMNS for name in result):
        return result
    try:
        return {**setting_columns(run.config()), **result}
    except InputError:  # a converted network, or a damaged file
        return result


def _on_further_tests(results: Sequence[tuple[Run, Mapping[str, Any]]]) -> list[tuple[Run, Mapping[str, Any]]]:
    """Return the results on further test sets (`data.tests`), each in the form of its run's own.

    Sets of one name and different frames get names of their own. A curve that has such a set at one P alone, for not
    all of its runs were evaluated, is left out of it.
    """
    found = [(run, result, one) for run, result in results for one in on_axis(run)]
    contents: dict[tuple[str, str], set[str]] = {}
    for _, result, one in found:
        contents.setdefault((str(result["dataset"]), one["test_set"]), set()).add(one["test_sha256"])
    runs = Counter(str(result["model_id"]) for _, result in results)
    curves: dict[tuple[str, str, str], list[tuple[Run, dict[str, Any]]]] = {}
    for run, result, one in found:
        name, sha256 = one["test_set"], one["test_sha256"]
        several = len(contents[str(result["dataset"]), name]) > 1
        own = {"test_set": f"{name}@{sha256[:6]}" if several else name, "n_test": one["frames"]}
        curve = curves.setdefault((str(result["dataset"]), own["test_set"], str(result["model_id"])), [])
        curve.append((run, {**result, **own, "by_metric": one["by_metric"]}))
    for (dataset, name), digests in contents.items():
        if len(digests) > 1:
            logger.warning(
                "%s: %s names %d different test sets; their names get the first digits of their content's hash",
                dataset, name, len(digests),
            )  # fmt: skip
    kept: list[tuple[Run, Mapping[str, Any]]] = []
    for (dataset, name, model_id), curve in curves.items():
        if len(curve) < runs[model_id]:
            alone = len({result["P"] for _, result in curve}) < 2
            logger.warning(
                "%s, test set %s: %d of %d runs of curve %s were evaluated%s; python -m experiments.runs.evaluate %s "
                "evaluates the others",
                dataset, name, len(curve), runs[model_id], model_id, ", which is left out" if alone else "",
                curve[0][0].path.parent,
            )  # fmt: skip
            if alone:
                continue
        kept += curve
    return kept


def run_table(*stores: RunStore) -> pd.DataFrame:
    """Return the rows of all finished runs, ordered by curve, P, seed and metric; `store` if several."""
    results = _told_apart([one for store in stores for one in store.results()])
    owner = {"store": ""} if len(stores) > 1 else {}
    rows = [
        {**row, **{name: str(run.path.parent) for name in owner}}
        for run, result in [*results, *_on_further_tests(results)]
        for row in rows_of(_with_settings(run, result))
    ]
    further = sorted({name for row in rows for name in row} - {*COLUMNS, *owner})
    table = pd.DataFrame(rows, columns=[*COLUMNS, *owner, *further])
    for column in (*INTEGERS, "n_steps"):
        table[column] = table[column].astype("Int64")  # nullable: a model without L has none
    order = ["dataset", "architecture", "L", "nu", "edge_lmax", "model_id", "P", "seed", "metric"]
    return table.sort_values(order, na_position="first", ignore_index=True)
