"""A worker process: packs of runs come in as lines of JSON, events go out as lines of JSON.

`python -m experiments.runs.worker PARENT [DEVICE]` is started by a launcher, the process PARENT, one per core with
one thread each or one per GPU. It computes on DEVICE (cpu or cuda), whichever its runs ask for. It ends when its
input ends, at a signal (after writing checkpoints), and when its parent is gone. Events:

- `ready`; `progress` and `ended` of a run; `finished` with a pack;
- `alive` about once a second with its `phase`, from the loop of the work itself (`training`), and from a thread while
  it loads data, compiles, evaluates or fits (each for two hours at most);
- last, before exit code 1: `disk` if the store's disk is full, read-only or broken; `device` if its device can
  no longer be used, or (`absent`) never could.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from experiments.core.errors import DeviceLost
from experiments.core.files import DISK
from experiments.core.interrupt import StopRequest, die_with_parent, ending_at_once, leave
from experiments.training.lengthy import at_work, phase

BEAT_SECONDS = 1.0
ONE_LINE = threading.Lock()
"""Held while a line is written, for two threads write."""


def say(event: Mapping[str, Any]) -> None:
    """Write an event to standard output; a parent that is gone does not make the run fail."""
    try:
        with ONE_LINE:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        pass


class Heartbeat:
    """The `stop` function of training, called after each chunk of updates; it also sends `alive` once a second."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.stop = stop
        self._sent = time.monotonic()

    def __call__(self) -> bool:
        """Return whether to stop."""
        now = time.monotonic()
        if now - self._sent >= BEAT_SECONDS:
            self._sent = now
            say({"event": "alive", "phase": phase() or "training"})
        return self.stop()

    def install(self) -> Heartbeat:
        """Start a thread that sends `alive` during long uninterrupted work (`experiments.training.lengthy`)."""
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    @staticmethod
    def _beat() -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            if at_work():
                say({"event": "alive", "phase": phase() or "working"})


def next_line(stop: Callable[[], bool]) -> str | None:
    """Wait for the next pack; return None at the end of the input or when asked to stop.

    A plain read would not notice the latter.
    """
    while not stop():
        ready, _, _ = select.select([sys.stdin], [], [], 0.5)
        if ready:
            return sys.stdin.readline() or None
    return None


def lost(reason: str, absent: bool) -> NoReturn:
    """Report that the device is lost and end the process at once: closing a broken CUDA context may hang or crash."""
    say({"event": "device", "reason": reason, "absent": absent})
    sys.stderr.flush()
    os._exit(1)


def main() -> int:
    """Compute packs until the input ends; return the exit code: 0, 1 (disk), or 128 + the signal that stopped it."""
    die_with_parent(int(sys.argv[1]))
    with ending_at_once(say=False):  # takes seconds
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        import torch

        from experiments.runs.execute import execute
        from experiments.runs.store import Run
        from experiments.training.device_errors import unusable
        from experiments.training.pack import Interrupted

        stop = StopRequest()
    stop.install()
    torch.set_num_threads(1)
    alive = Heartbeat(stop).install()
    device = sys.argv[2] if len(sys.argv) > 2 else None
    reason = None if device is None else unusable(torch.device(device))
    if reason is not None:
        lost(reason, absent=True)
    say({"event": "ready"})
    while (line := next_line(stop)) is not None:
        paths = json.loads(line)
        try:
            outcome = execute([Run(Path(path)) for path in paths], alive, say, device)
        except Interrupted:
            break
        except DeviceLost as error:
            lost(str(error), error.absent)
        except OSError as error:
            if error.errno not in DISK:
                raise
            reason = os.strerror(error.errno)
            say({"event": "disk", "errno": error.errno, "reason": reason, "path": str(error.filename or "")})
            return 1
        say({"event": "finished", "outcome": outcome})
    return stop.exit_code if stop() else 0


if __name__ == "__main__":
    leave(main())
