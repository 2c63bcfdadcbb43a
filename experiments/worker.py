"""A worker process: packs of runs come in as lines of JSON, events go out as lines of JSON.

``python -m experiments.worker PARENT`` is started by a launcher, the process PARENT, one per core with one thread
each. It ends when its input ends, when it is told to by a signal (after writing checkpoints), and when its parent is
gone.
"""

from __future__ import annotations

import json
import logging
import select
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.interrupt import StopRequest, die_with_parent


def say(event: Mapping[str, Any]) -> None:
    """Write an event; a parent that is gone is no reason to fail a run."""
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass


def next_line(stop: Callable[[], bool]) -> str | None:
    """The next pack, or None at the end of the input or when asked to stop (a plain read would sleep through it)."""
    while not stop():
        ready, _, _ = select.select([sys.stdin], [], [], 0.5)
        if ready:
            return sys.stdin.readline() or None
    return None


def main() -> int:
    """Work until there is no more; exit code 0, or 128 + the signal that stopped it."""
    die_with_parent(int(sys.argv[1]))
    stop = StopRequest().install()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    import torch

    from experiments.execute import execute
    from experiments.runs import Run
    from experiments.training.pack import Interrupted

    torch.set_num_threads(1)
    say({"event": "ready"})
    while (line := next_line(stop)) is not None:
        paths = json.loads(line)
        try:
            outcome = execute([Run(Path(path)) for path in paths], stop, say)
        except Interrupted:
            break
        say({"event": "finished", "outcome": outcome})
    return stop.exit_code if stop() else 0


if __name__ == "__main__":
    sys.exit(main())
