"""Whether a run can learn from its dataset: told before the run exists, of every point of a sweep."""

from __future__ import annotations

from experiments.config.run import RunConfig
from experiments.core.errors import InputError
from experiments.data.baseline import usable_subset
from experiments.data.checks import one_molecule
from experiments.data.dataset import AnyDataset, Dataset


def check_data(config: RunConfig, dataset: AnyDataset) -> None:
    """Raise `InputError` if the run needs forces or validation frames that the dataset lacks.

    `experiments.config.parse.check_kind` has checked before, without the data, that the model takes such examples.
    """
    if config.training is not None and config.training.stop == "validation" and len(dataset.holdout) == 0:
        raise InputError(f"training.stop=validation: {dataset.name} has no validation frames; accepted: budget")
    if not isinstance(dataset, Dataset):
        return
    section, fitted = ("training", config.training) if config.training is not None else ("model", config.model)
    weight = getattr(fitted, "force_weight", 0.0)
    if weight > 0 and not dataset.pool.has_forces:
        raise InputError(f"{section}.force_weight={weight:g}: {dataset.name} has no forces; accepted: 0")


def check_run(config: RunConfig, dataset: AnyDataset) -> None:
    """Check the data and the run's own training frames.

    Raises:
        InputError: see `check_data`; the frames do not determine the energy baseline (`usable_subset`); or the model
            compares frames of one molecule, and a frame of the training subset or of a test set is another.
    """
    check_data(config, dataset)
    chosen = usable_subset(dataset, config.P, config.subset_seed, config.model.closed_form)
    if not isinstance(dataset, Dataset) or getattr(config.model, "takes_periodic", True):
        return
    train = (dataset.pool if len(chosen) <= len(dataset.pool) else dataset.labelled).take(chosen)
    numbers = train.numbers[0][train.numbers[0] > 0]
    further = {f"data.tests.{name}": frames for name, frames in dataset.further.items()}
    for name, frames in {"training frames": train, f"test set {dataset.test_set}": dataset.test, **further}.items():
        try:
            one_molecule(frames, numbers, config.model.architecture)
        except InputError as error:
            raise InputError(f"{dataset.name}, {name}: {error}") from None
