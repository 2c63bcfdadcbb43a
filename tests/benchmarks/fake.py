"""A process whose steps take a known time, for the tests of turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from benchmarks.serve import Steps, serve


def prepare(settings: Mapping[str, Any]) -> tuple[Steps, dict[str, Any]]:
    """`seconds` of waiting a step, and of work if it is eager; or the end of the process."""
    print("libraries print")
    if "error" in settings:
        raise SystemExit(settings["error"])

    def steps(number: int) -> None:
        end = time.process_time() + (0.0 if settings.get("compile", True) else number * settings["seconds"])
        while time.process_time() < end:
            pass
        time.sleep(number * settings["seconds"])

    return steps, {"parameters": 7}


if __name__ == "__main__":
    serve(prepare)
