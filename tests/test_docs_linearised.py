"""The commands of docs/linearised.md run, small; its sweeps are those that are shipped."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "linearised.md").read_text(encoding="utf-8")
SMALL = ["L=0,1", "P=2,4,8", "seed=0,1", "model.channels=2", "data.test_frames=4", "+model.radial_hidden=[4]"]


def test_commands_run_in_their_order(tmp_path: Path) -> None:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()]
    assert len(lines) >= 2
    for line in lines:
        program, *words = shlex.split(line.replace("build/", f"{tmp_path}/"))
        assert program == "python"
        if words[1] == "experiments":
            name = next(word for word in words if word.startswith("+sweep=")).removeprefix("+sweep=")
            words = [word for word in words if word.partition("=")[0] not in ("P", "seed")]
            words += [*SMALL, f"store={tmp_path}/{name}/runs"]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert "not trained yet" in (tmp_path / "nequip_linear" / "report.html").read_text(encoding="utf-8").lower()


def test_the_sweeps_of_the_table_are_shipped() -> None:
    named = re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE)
    shipped = {path.stem for path in (ROOT / "conf" / "sweep").glob("*_linear.yaml")}
    assert set(named) == shipped
