"""Forks processes that compute runs, with everything imported once: a hundred kills would else be as many imports.

Lines of JSON come in: ``{"spawn": [run directories]}`` answers ``{"pid": …}``; ``{"wait": pid}`` answers
``{"code": …}`` when that process has ended (negative: the signal that killed it).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import torch

from experiments.execute import execute
from experiments.interrupt import StopRequest
from experiments.runs import Run
from experiments.training.pack import Interrupted


def work(paths: list[str]) -> int:
    """Compute every run that is not done, waiting for those that others have; as a driver and its worker would."""
    stop = StopRequest().install()
    torch.set_num_threads(1)
    runs = [Run(Path(path)) for path in paths]
    while any(run.state() != "done" for run in runs):
        for run in runs:
            try:
                outcome = execute([run], stop, lambda event: None)
            except Interrupted:
                return stop.exit_code
            if outcome[run.id] == "failed":
                return 1
            if stop():
                return stop.exit_code
    for run in runs:
        run.settle()
    return 0


def main() -> None:
    """Serve until the input ends."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    for line in sys.stdin:
        request = json.loads(line)
        if "spawn" in request:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = work(request["spawn"])
                finally:
                    os._exit(code)
            answer = {"pid": pid}
        else:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
