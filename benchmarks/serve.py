"""A process that takes training steps on request and reports their time.

It answers through a pipe of its own, because libraries print on standard output, with one JSON object a line: first
`{"compile_s": …, "start_cpu_s": …, …}` (the latter with its compilers' processor time) when it is ready, then for every
line `n` that it reads `{"wall_s": …, "cpu_s": …}` of n steps.
It needs only Python, because it runs in other packages' environments too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Steps = Callable[[int], object]
"""Take a number of training steps and wait for the device."""
Prepare = Callable[[Mapping[str, Any]], tuple[Steps, dict[str, Any]]]
"""Settings → a function that takes steps, and facts about it."""


def serve(prepare: Prepare) -> None:
    """Answer requests on standard input until it ends.

    The process's arguments are the settings as JSON and the file descriptor of the pipe.
    """
    answers = os.fdopen(int(sys.argv[2]), "w")

    def answer(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    began = time.monotonic()
    steps, facts = prepare(json.loads(sys.argv[1]))
    steps(1)  # compiles
    ready = time.monotonic() - began
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start_cpu = sum(one.ru_utime + one.ru_stime for one in usage)
    answer({**facts, "compile_s": ready, "start_cpu_s": start_cpu})
    steps(2)
    for line in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        steps(int(line))
        answer({"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - start_cpu})
