"""Evaluations of several runs of a pack at once, which launch no more operations than that of one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from experiments.tasks.evaluation import Evaluation
from experiments.tasks.task import Evaluator, Tensors
from experiments.training.device_errors import out_of_memory
from experiments.training.lengthy import lengthy
from experiments.training.member import Member

logger = logging.getLogger(__name__)
MOST = 64
"""Runs evaluated at once, whose predictions of all test frames the host holds together."""


@lengthy("evaluating")
def evaluate_together(evaluator: Evaluator, runs: Sequence[tuple[Tensors, Member]]) -> dict[str, Evaluation]:
    """Evaluate runs, those with equally many training frames at once.

    Returns:
        Evaluations by the runs' names, without those of runs that have no others beside them, or that memory does not
        hold at once: they are left to be evaluated by themselves.
    """
    found: dict[str, Evaluation] = {}
    alike: dict[int, list[tuple[Tensors, Member]]] = {}
    for weights, member in runs:
        alike.setdefault(len(member.prepared.subset), []).append((weights, member))
    groups = [group[i : i + MOST] for group in alike.values() for i in range(0, len(group), MOST)]
    for group in groups:
        if len(group) == 1:
            continue
        try:
            made = evaluator.full([weights for weights, _ in group], [member.prepared for _, member in group])
        except Exception as error:
            if not out_of_memory(error):
                raise
            logger.warning("out of memory in the evaluation of %d runs at once; they follow one by one", len(group))
        else:
            found |= {member.name: one for (_, member), one in zip(group, made, strict=True)}
    return found
