"""The run store under any order of events: claims, deaths, orphans that publish, damaged files."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from experiments.core import files
from experiments.core.states import RunState
from experiments.runs.store import Attempt, Run

RESULT = {"metrics": {"force_mae": 0.25}, "converged": True}
pytestmark = pytest.mark.usefixtures("no_power_cut")


class Store(RuleBasedStateMachine):
    """Processes take a run, die, come back as orphans and publish, in any order.

    A process is played by the lease it holds: its death is the removal of the lease's validity.
    """

    @initialize()
    def start(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="equilaw-store-"))
        self.run = Run(self.path / "0123456789ab")
        self.run.create({"P": 1})
        self.living: list[Attempt] = []
        self.orphans: list[Attempt] = []
        self.winner: int | None = None
        self.damaged = False

    @rule()
    def claim(self) -> None:
        attempt = self.run.claim()
        free = self.winner is None and not self.living
        assert (attempt is not None) == free
        if attempt is not None:
            self.living.append(attempt)
            self.damaged = False

    @precondition(lambda self: self.living)
    @rule()
    def die(self) -> None:
        attempt = self.living.pop()
        lease = attempt.path / "alive.json"
        lease.write_text(json.dumps({**json.loads(lease.read_text()), "started": "1"}))
        self.orphans.append(attempt)

    @precondition(lambda self: self.living)
    @rule(state=st.sampled_from([RunState.FAILED, RunState.QUEUED]))
    def leave(self, state: RunState) -> None:
        attempt = self.living.pop()
        self.run.set_state(state)
        (attempt.path / "alive.json").unlink()
        self.orphans.append(attempt)

    @precondition(lambda self: self.living or self.orphans)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.living + self.orphans))
        won = attempt.publish(RESULT)
        # A damaged result stands in the way until the next owner puts it aside: two who publish can't do that.
        assert won == (self.winner is None and not self.damaged)
        if won:
            self.winner = attempt.number

    @precondition(lambda self: self.winner is not None)
    @rule()
    def damage(self) -> None:
        (self.run.path / "result.json").unlink()
        (self.run.path / "result.json").write_text("{")
        self.winner, self.damaged = None, True

    @rule(content=st.binary(max_size=8))
    def scribble(self, content: bytes) -> None:
        (self.run.path / "state.json").write_bytes(content)

    @invariant()
    def one_answer(self) -> None:
        state = self.run.state()
        assert (state == "done") == (self.winner is not None)
        if self.winner is None:
            assert (state == "running") == bool(self.living)
        assert len(self.living) <= 1
        assert not list(self.run.path.rglob(f"{files.TEMPORARY}*"))

    def teardown(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
