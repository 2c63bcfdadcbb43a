"""How many runs train at a time: as many as the device's memory holds, by measurement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

from experiments.training.member import Member
from experiments.training.pack import Pack, Report, TooLarge

logger = logging.getLogger(__name__)
SHARE = 0.8
"""Share of the free memory that a pack may take: evaluations and the allocator's own gaps need the rest."""


def train_within_memory(
    members: Sequence[Member],
    build: Callable[[Sequence[Member]], Pack],
    stop: Callable[[], bool],
    report: Report,
    ended: Callable[[Member], None],
) -> None:
    """Train all members, in as few packs as fit; a pack that does not fit after all goes on in two halves.

    Args:
        members: runs of equal shapes and operations.
        build: makes a pack of some of them; each starts from its latest checkpoint.
        stop, report, ended: see :meth:`Pack.train`.

    Raises:
        Interrupted: ``stop()`` turned true.
    """
    waiting = [list(members)]
    if len(members) > 1:
        size = fitting(build, members)
        waiting = [list(members[start : start + size]) for start in range(0, len(members), size)]
    while waiting:
        group = waiting.pop(0)
        try:
            build(group).train(stop, report, ended)
        except TooLarge:
            left = [m for m in group if m.full is None and m.failure is None]
            middle = (len(left) + 1) // 2
            logger.warning("out of memory with a pack of %d; going on with packs of %d", len(left), middle)
            release()
            waiting[:0] = [part for part in (left[:middle], left[middle:]) if part]


def fitting(build: Callable[[Sequence[Member]], Pack], members: Sequence[Member]) -> int:
    """The number of runs that memory holds at a time: a power of two, or all of them.

    Measured on a GPU from the peak of one gradient of a pack of one and of a pack of two. Elsewhere all fit: on a
    CPU the launcher makes packs of one, and whoever asks for more has reasons.
    """
    device = build(members[:1]).task.device
    if device.type != "cuda":
        return len(members)
    peaks = [_peak(build(members[:count])) for count in (1, 2)]
    free = torch.cuda.mem_get_info(device)[0]
    return chosen_size(len(members), peaks[0], max(1, peaks[1] - peaks[0]), int(SHARE * free))


def chosen_size(count: int, first: int, each: int, free: int) -> int:
    """Runs at a time of ``count``: the first takes ``first`` bytes, each further one ``each``, of ``free``."""
    most = 1 + max(0, free - first) // each
    return count if count <= most else 1 << (most.bit_length() - 1)


def _peak(pack: Pack) -> int:
    """Most bytes that a pack's state and one gradient take at a time."""
    torch.cuda.reset_peak_memory_stats(pack.task.device)
    pack.bare_gradient()
    return torch.cuda.max_memory_allocated(pack.task.device)


def release() -> None:
    """Give what the allocator holds back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
