"""The number of runs that train at a time: as many as the device's memory holds, by measurement."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Callable, Sequence

import torch

from experiments.training.device_errors import causes, out_of_memory
from experiments.training.member import Member
from experiments.training.pack import Pack, Report

logger = logging.getLogger(__name__)
SHARE = 0.8
"""Share of the free memory that a pack may take: evaluations and the allocator's own gaps need the rest."""

Build = Callable[[Sequence[Member]], Pack]


def train_within_memory(
    members: Sequence[Member],
    build: Build,
    stop: Callable[[], bool],
    report: Report,
    ended: Callable[[Member], None],
) -> None:
    """Train all members, in as few packs as fit; after a pack that did not fit, none is more than half as large.

    Memory may run out anywhere: while a pack is made, in an update, in an evaluation, inside the compiler. Each run
    then goes on from its latest checkpoint.

    Args:
        members: runs of equal shapes and operations.
        build: makes a pack of some of them; each starts from its latest checkpoint.
        stop: see `Pack.train`.
        report: see `Pack.train`.
        ended: see `Pack.train`.

    Raises:
        Interrupted: `stop()` returned true.
        Exception: an error that `out_of_memory` recognises, if a run does not fit by itself.
    """
    waiting = {member.name: member for member in members}
    size = fitting(build, members) if len(members) > 1 else 1

    def settled(member: Member) -> None:
        ended(member)
        del waiting[member.name]

    while waiting:
        group = list(waiting.values())[:size]
        if not _trained(group, build, stop, report, settled):
            size = (len(group) + 1) // 2
            logger.warning("out of memory with a pack of %d; going on with packs of %d", len(group), size)


def _trained(
    group: Sequence[Member], build: Build, stop: Callable[[], bool], report: Report, ended: Callable[[Member], None]
) -> bool:
    """Train a pack; return False if a pack of two or more ran out of memory, after freeing all that the try held."""
    try:
        build(group).train(stop, report, ended)
    except Exception as error:
        if len(group) < 2 or not out_of_memory(error):
            raise
        forget(error)
    else:
        return True
    release(compiled=True)  # not before the error is gone, which its handler keeps alive
    return False


def fitting(build: Build, members: Sequence[Member]) -> int:
    """Return the number of runs that memory holds at a time: a power of two, or all of them.

    On a GPU it is measured by the peak memory of one eager gradient, of a pack of one and of a pack of two; a compiled
    gradient takes less memory, and minutes to make. On a CPU all are taken to fit: the launcher makes packs of one
    there, and larger ones are the user's explicit choice.
    """
    try:
        device = build(members[:1]).task.device
        if device.type != "cuda":
            return len(members)
        peaks = [_peak(build, members[:count], device) for count in (1, 2)]
    except Exception as error:
        if not out_of_memory(error):
            raise
        forget(error)
        peaks = []
    release()
    if not peaks:
        return 1
    return chosen_size(len(members), peaks[0], max(1, peaks[1] - peaks[0]), int(SHARE * free_bytes(device)))


def chosen_size(count: int, first: int, each: int, free: int) -> int:
    """Return how many of `count` runs fit into `free` bytes: all, or a power of two.

    The first run takes `first` bytes, each further one `each`.
    """
    most = 1 + max(0, free - first) // each
    return count if count <= most else 1 << (most.bit_length() - 1)


def _peak(build: Build, members: Sequence[Member], device: torch.device) -> int:
    """Return the peak memory (bytes) of a pack's state and one eager gradient, beyond the memory in use now."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    build(members).bare_gradient(eager=True)
    return torch.cuda.max_memory_allocated(device) - before


def free_bytes(device: torch.device) -> int:
    """Return the bytes that can still be allocated on a GPU: free there, or held unused by torch's allocator."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def forget(error: BaseException) -> None:
    """Drop the local variables of the functions that `error` came through: they fill the memory."""
    for one in causes(error):
        traceback.clear_frames(one.__traceback__)


def release(compiled: bool = False) -> None:
    """Give unused memory back to the GPU; with `compiled`, that of all compiled steps' graphs too."""
    gc.collect()
    if torch.cuda.is_available():
        if compiled:
            torch.compiler.reset()
        torch.cuda.empty_cache()
