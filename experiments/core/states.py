"""The states of runs and jobs, as they are written to files and shown; each is also its text."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run. Those of the first line are recorded in `state.json`; the others are concluded."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its process is gone."""
    LOST = "lost"
    """Its job is gone (`slurm.jobs.status`)."""
    UNKNOWN = "unknown"
    """The scheduler does not answer."""
    ELSEWHERE = "elsewhere"
    """Another process computes it, as this sweep sees it."""

    @staticmethod
    def of(text: object) -> RunState:
        """Return the state that a file names; what no version of this program wrote is `QUEUED`, as no state is."""
        try:
            return RunState(str(text))
        except ValueError:
            return RunState.QUEUED

    @property
    def ended(self) -> bool:
        """Whether the run has a result or failed: nothing happens to it unless somebody asks."""
        return self in (RunState.DONE, RunState.FAILED)


class RunOutcome(StrEnum):
    """How a process that was given a run ended with it."""

    DONE = "done"
    FAILED = "failed"
    TAKEN = "taken"
    """Another process has it."""


class ArrayState(StrEnum):
    """The state of a job array in the ledger."""

    PLANNED = "planned"
    """Written down, and not known to be submitted."""
    SUBMITTED = "submitted"
    REFUSED = "refused"
    """By sbatch."""
    DRY = "dry"
    """Not to be submitted."""

    @property
    def written(self) -> bool:
        """Whether all was done that was asked for: it was submitted, or only its files were wanted."""
        return self in (ArrayState.SUBMITTED, ArrayState.DRY)

    @property
    def may_have_jobs(self) -> bool:
        """Whether the cluster may know jobs of it: its driver may have been killed right after it submitted them."""
        return self in (ArrayState.PLANNED, ArrayState.SUBMITTED)


class StopCause(StrEnum):
    """Why a job ended, or a scheduler stops it."""

    CANCELLED = "cancelled"
    PREEMPTION = "preemption"
    TIMEOUT = "timeout"
    REQUEUED = "requeued"
    """By Slurm or a person."""
    DEVICE = "device"
    """It lost its GPU."""
    SIGNAL = "signal"
    """The scheduler does not say why."""
    FAILED = "failed"
    """By itself, with failed runs."""
    DONE = "done"
    """By itself."""
