"""The number of runs that train at a time, by measurement: what the device's memory holds, and no more than pay."""

from __future__ import annotations

import gc
import logging
import math
import time
import traceback
from collections.abc import Callable, Sequence

import torch

from experiments.training.device_errors import causes, out_of_memory
from experiments.training.lengthy import lengthy
from experiments.training.member import Member
from experiments.training.pack import Pack, Report

logger = logging.getLogger(__name__)
SHARE = 0.8
"""Share of the free memory that a pack may take: evaluations and the allocator's own gaps need the rest."""
GAIN = 0.1
"""Least growth of run-updates/s for which a pack is made twice as large: a smaller one has its results sooner, leaves
memory free, and loses less when it is interrupted or its runs end at different times."""
REPEATS = 3
"""Gradients of a pack that are timed, of which the fastest counts: others may use the device meanwhile."""

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


@lengthy()
def fitting(build: Build, members: Sequence[Member]) -> int:
    """Return the number of runs that train at a time: what memory holds, or fewer where throughput stops growing.

    On a GPU both are measured eagerly, for to compile a size takes minutes: memory by the peak of one gradient, of a
    pack of one and of a pack of two, and throughput as `worthwhile` says. Compiled, a gradient takes less memory, and
    less time of the host and of the device alike. Packs are then as few as that allows, and equally large. On a CPU all
    are taken to fit: the launcher makes packs of one there, and larger ones are the user's explicit choice.
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
    most = chosen_size(len(members), peaks[0], max(1, peaks[1] - peaks[0]), int(SHARE * free_bytes(device)))
    size = worthwhile(most, lambda count: _throughput(build, members[:count], device))
    release()
    return math.ceil(len(members) / math.ceil(len(members) / size))


def worthwhile(most: int, throughput: Callable[[int], float]) -> int:
    """Return the size of a pack beyond which twice the runs no longer pay: a power of two, or `most`.

    Each doubling counts only by what it gains beyond `GAIN`. Sizes are tried upwards until two doublings of the best
    one did not pay, so that a single hindered measurement does not end the search.

    Args:
        most: largest size that memory holds.
        throughput: measures the run-updates/s of a pack of so many runs.
    """
    found: dict[int, float] = {}
    best, size = 1, 1
    while True:
        found[size] = throughput(size)
        best = max(found, key=lambda n: found[n] / (1 + GAIN) ** math.log2(n))
        if size == most or size >= 4 * best:
            break
        size = min(2 * size, most)
    rates = ", ".join(f"{rate:.0f} with {n}" for n, rate in found.items())
    logger.info("packs of up to %d, of %d that memory holds: gradients/s, eagerly, are %s", best, most, rates)
    return best


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


def _throughput(build: Build, members: Sequence[Member], device: torch.device) -> float:
    """Return the gradients of a run per second that a pack makes eagerly; 0 if it does not fit into memory."""
    seconds = []
    try:
        pack = build(members)
        for _ in range(1 + REPEATS):  # at the first, libraries choose their kernels
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            pack.bare_gradient(eager=True)
            torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - began)
    except Exception as error:
        if not out_of_memory(error):
            raise
        forget(error)
        return 0.0
    return len(members) / min(seconds[1:])


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
