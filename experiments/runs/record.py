"""The result of a run, as `result.json` holds it: one versioned type reads and writes the file (torch-free)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from experiments.core.errors import InputError
from experiments.core.schema import as_json, read

VERSION = 2
"""Version of the file. 1 (which it does not say): torch's version stood in `torch` too, beside `versions.torch`."""


@dataclass(frozen=True)
class MetricResult:
    """The errors of a run by one metric, in `unit`; None: not measured."""

    error: float | None = None
    """On the test set, after the full budget."""
    unit: str = ""
    error_test_sem: float | None = None
    """Standard error of the mean over test frames."""
    train_error: float | None = None
    error_half_budget: float | None = None
    """On the test set, of the complete schedule of half the budget."""
    holdout_error: float | None = None
    """On the validation set."""
    mean_error: float | None = None
    """Of the input-independent baseline."""
    converged: bool | None = None
    data_limited: bool | None = None
    learned: bool | None = None
    further: Mapping[str, Any] = field(default_factory=dict)
    """Values by name that this class does not declare."""


@dataclass(frozen=True, eq=False)
class Result(Mapping[str, Any]):
    """The result of a run. As a mapping it is the content of the file: columns of the run table by name."""

    attempt: int
    """The attempt whose result it is."""
    version: int = VERSION
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Test errors by metric."""
    primary: str = "force_mae"
    """The metric that verdicts go by."""
    by_metric: Mapping[str, MetricResult] = field(default_factory=dict)
    converged: bool | None = None
    verdict: str | None = None
    """On the training, in a line."""
    run_id: str | None = None
    model_id: str | None = None
    dataset: str | None = None
    dataset_sha256: str | None = None
    test_set: str | None = None
    architecture: str | None = None
    P: int | None = None
    seed: int | None = None
    subset_seed: int | None = None
    init_seed: int | None = None
    n_parameters: int | None = None
    n_updates: int | None = None
    """Updates that this run made itself; the others came from a stable phase that was there."""
    n_steps: int | None = None
    """Updates that made the weights; None for a fit in closed form."""
    seconds: float | None = None
    device: str | None = None
    gpu: str | None = None
    """Model of the GPU."""
    peak_memory: float | None = None
    """In bytes."""
    code_version: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Of Python and of the numerical libraries."""
    further: Mapping[str, Any] = field(default_factory=dict)
    """Further facts and columns by name."""

    @staticmethod
    def parse(content: Mapping[str, Any], where: str) -> Result:
        """Read the content of a file of this or an earlier version; `where` is its path, for messages.

        Raises:
            InputError: a later version wrote it, or a value has another type.
        """
        version = content.get("version", 1)
        if not isinstance(version, int) or version > VERSION:
            raise InputError(
                f"{where}: version {version!r}, written by a later version of the program; accepted: up to {VERSION}"
            )
        try:
            return read(Result, _migrated(content, version))
        except InputError as error:
            lines = [line.removeprefix("Result.") for line in str(error).splitlines()]
            raise InputError(f"{where}: {'; '.join(lines)}") from None

    @cached_property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = as_json(self)
        return content

    def __getitem__(self, name: str) -> Any:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def _migrated(content: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    """Return the content of an earlier version's file as this version would have written it."""
    if version == VERSION:
        return content
    changed = {**content, "version": VERSION}
    torch = changed.pop("torch", None)
    if torch is not None:
        changed["versions"] = {"torch": torch, **(content.get("versions") or {})}
    return changed
