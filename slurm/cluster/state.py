"""The state of a cluster and of its nodes, and the line that tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HEALTHY = ("IDLE", "MIXED", "ALLOCATED", "COMPLETING")
"""How Slurm's states of a node that takes jobs begin."""


@dataclass(frozen=True)
class Status:
    """The state of a cluster."""

    directory: Path
    state: str
    """absent, down, half-dead or up."""
    dead: tuple[str, ...]
    """Daemons that should be running and are not."""
    nodes: dict[str, str]
    """Slurm's state of each node; empty if the controller does not answer."""
    jobs: int
    accounting: bool

    def line(self) -> str:
        """Describe the state in one line."""
        if self.state == "absent":
            return f"no cluster in {self.directory}; python -m slurm cluster up makes one"
        with_ = "with" if self.accounting else "without"
        text = f"cluster {self.directory}: {self.state}"
        if self.dead and self.state != "down":
            text += f" ({', '.join(self.dead)} not running; python -m slurm cluster up starts what is missing)"
        if self.nodes:
            text += ", nodes " + ", ".join(f"{name} {state.lower()}" for name, state in self.nodes.items())
            text += f", {self.jobs} {'job' if self.jobs == 1 else 'jobs'}"
        return f"{text}, {with_} accounting"


def is_healthy(state: str | None) -> bool:
    """Return whether a node in this state takes jobs; a star means that it does not respond."""
    return state is not None and state.startswith(HEALTHY) and not state.endswith("*")
