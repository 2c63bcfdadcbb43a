"""The history of a run's training, its losses and validation errors: JSON lines as it goes, Parquet at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.core import files


class History:
    """Records of one run, written to `history.jsonl` in its attempt's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.records: list[dict[str, Any]] = []
        self._losses: list[float] = []

    def resume(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Start from the records of a checkpoint."""
        self.records = [dict(record) for record in records]
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        files.write_bytes(self.directory / "history.jsonl", lines.encode())

    def restart(self) -> None:
        """Drop all records of this attempt."""
        self._losses.clear()
        if self.records:
            self.resume([])

    def loss(self, losses: NDArray[np.floating[Any]]) -> None:
        """Add the losses `[updates]` of updates since the last record; their mean goes into the next one."""
        self._losses += [float(value) for value in losses]

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record, and with it the mean of the finite losses since the one before (None if there are none)."""
        finite = [value for value in self._losses if math.isfinite(value)]
        full = {**record, "loss": sum(finite) / len(finite) if finite else None}
        self._losses.clear()
        self.records.append(full)
        with open(self.directory / "history.jsonl", "a") as lines:
            lines.write(json.dumps(full) + "\n")

    def to_parquet(self, path: Path) -> None:
        """Write all records as a table."""
        with files.whole(path) as temporary:
            pd.DataFrame(self.records).to_parquet(temporary)
