"""Files that no program of ours reads: pins, the workflow, the hooks. They name what exists, and hold together."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_has_one_exact_pin() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==[0-9][0-9a-z.]*", line) for line in lines]
    assert all(pins), "only NAME==VERSION: no addresses, and no local version (torch+cpu is torch's own affair)"
    pinned = [normal(pin[1]) for pin in pins if pin]
    assert len(set(pinned)) == len(pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(one for extra in ("dev", "groups", "jets", "optuna") for one in extras[extra]),
    ]
    assert {normal(re.split(r"[<>=;\[ ]", one)[0]) for one in wanted} <= set(pinned)


def test_the_workflow_runs_what_make_has() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yaml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {command.removeprefix("make ") for command in commands} <= TARGETS
    ours = re.findall(r"^make .*", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    assert set(ours) <= set(commands)  # on GitHub nothing is left out that a fresh machine runs


def test_hooks_are_the_environments_own_tools() -> None:
    """A hook that is fetched from elsewhere would have a version of its own."""
    (source,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert source["repo"] == "local"
    assert {hook["entry"].split()[0] for hook in source["hooks"]} == {".venv/bin/ruff", ".venv/bin/mypy"}
    lint = re.search(r"^lint: env\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert lint
    assert [hook["entry"].removeprefix(".venv") for hook in source["hooks"]] == re.findall(
        r"\t\$\(VENV\)(.*?)(?: \.)?\n", lint[1]
    )


def test_guides_link_to_what_exists() -> None:
    for guide in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / guide).read_text()
        paths = re.findall(r"`((?:analysis|conf|experiments|tests|slurm|\.ci)/[\w/.-]+)`", text)
        assert [path for path in paths if not (ROOT / path).exists() and "NAME" not in path] == []
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS
