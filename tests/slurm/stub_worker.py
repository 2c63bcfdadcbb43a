"""Plays `experiments.runs.worker` without torch: takes runs, publishes results at once, and dies or hangs where told
to.

EQUILAW_STUB is a JSON mapping of run ids to what happens when the run is reached: `die` (always), `die once`,
`hang` (stopped, once), `hang always`, `sleep` (forever, once), `compile` (sleeps as long as a compilation),
`fail`, `disk`, `lose` (the device) or `lose once`. Packs are written to `<store>/packs.jsonl`. With
EQUILAW_STUB_DEVICE there is no device to begin with; with EQUILAW_STUB_START it ends before it is ready.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from experiments.core.states import RunState
from experiments.runs import worker
from experiments.runs.store import ORIGIN, Run
from experiments.training.lengthy import lengthy

COMPILE_SECONDS = 5.0
worker.BEAT_SECONDS = 0.4


def say(**event: object) -> None:
    """Write an event."""
    worker.say(event)


def first_time(run: Run) -> bool:
    """Whether no stub has come to this run before."""
    try:
        (run.path / "reached").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main() -> None:
    """Work until the input ends."""
    told = json.loads(os.environ.get("EQUILAW_STUB", "{}"))
    if "EQUILAW_STUB_START" in os.environ:
        sys.exit("ImportError: as told")
    if "EQUILAW_STUB_DEVICE" in os.environ:
        say(event="device", reason="as told", absent=True)
        sys.exit(1)
    worker.Heartbeat(lambda: False).install()
    say(event="ready")
    for line in sys.stdin:
        runs = [Run(Path(path)) for path in json.loads(line)]
        with open(runs[0].path.parent / "packs.jsonl", "a") as packs:
            packs.write(json.dumps([run.id for run in runs]) + "\n")
        outcome = {}
        for run in runs:
            attempt = run.claim()
            if attempt is None:
                outcome[run.id] = "done" if run.state() == "done" else "taken"
                continue
            with attempt:
                job = {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}
                attempt.note(ORIGIN, {"environment": job})
                what = told.get(run.id)
                if what == "die" or (what == "die once" and first_time(run)):
                    os.kill(os.getpid(), signal.SIGKILL)
                if what == "hang always" or (what == "hang" and first_time(run)):
                    os.kill(os.getpid(), signal.SIGSTOP)
                if what == "sleep" and first_time(run):
                    time.sleep(3600)
                if what == "compile":
                    with lengthy():
                        time.sleep(COMPILE_SECONDS)
                if what == "fail":
                    run.set_state(RunState.FAILED, message="ValueError: as told")
                    outcome[run.id] = "failed"
                    say(event="ended", run=run.id, outcome="failed")
                    continue
                if what == "lose" or (what == "lose once" and first_time(run)):
                    run.set_state(RunState.QUEUED, message="its device was lost: CUDA error: as told")
                    say(event="device", reason="CUDA error: as told", absent=False)
                    sys.exit(1)
                if what == "disk":
                    say(event="disk", errno=28, reason="No space left on device", path=str(run.path))
                    sys.exit(1)
                attempt.publish({"metrics": {}})
            outcome[run.id] = "done"
            say(event="ended", run=run.id, outcome="done")
        say(event="finished", outcome=outcome)


if __name__ == "__main__":
    main()
