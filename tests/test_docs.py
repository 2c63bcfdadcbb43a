"""Every command of the README and of docs/ is run, with budgets that fit a test; every link in them leads somewhere."""

from __future__ import annotations

import ast
import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import notebook
from experiments.data.sources.extxyz import write_frames
from experiments.data.sources.star import StarConfig, star

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CHEAP = ["training.max_steps=4", "training.compile=false", "model.channels=2", "model.radial_hidden=[4]"]
"""Appended to commands that train: the same command, a budget for a test."""
SMALL_STAR = ["data=star", "data.pool=320", "data.holdout=4", "data.test=8"]
ELSEWHERE = {
    "CONTRIBUTING.md": "test_contributing.py", "docs/datasets.md": "test_docs_datasets.py",
    "docs/linearised.md": "test_docs_linearised.py", "slurm/README.md": "slurm/jobs/test_script.py",
}  # fmt: skip
"""Pages whose commands have tests of their own."""


def shell_lines(page: Path) -> list[str]:
    """Command lines of a page's shell blocks, comments left out."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "slurm").glob("*.md"))
)
IN_ORDER = ("README.md", "docs/tutorial.md")
"""Pages to follow from the top: each command builds on those before it."""
COMMANDS = {page: shell_lines(ROOT / page) for page in PAGES if page not in (*ELSEWHERE, *IN_ORDER)}
"""Commands of the other pages."""


def commands() -> list[str]:
    """All commands, once each, in the order of the pages."""
    return list(dict.fromkeys(line for lines in COMMANDS.values() for line in lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a user's frames and a run table of known exponents."""
    path = tmp_path_factory.mktemp("user")
    made = star(StarConfig(pool=150, holdout=4, test=8))
    for name, frames in (("train.xyz", made.pool), ("test.xyz", made.test)):
        write_frames(path / name, frames)
    rng = np.random.default_rng(0)
    rows = [
        {"dataset": "d", "architecture": "mace", "L": L, "nu": nu, "edge_lmax": edge, "metric": "force_mae"}
        | {"unit": "meV/Å", "P": P, "seed": seed, "error": 100 * P**-beta * np.exp(0.02 * rng.normal())}
        | {"converged": True}
        for L, nu, edge, beta in ((0, 1, 3, 0.2), (1, 1, 3, 0.5), (0, 3, 3, 0.5), (0, 3, 0, 0.2))
        for P in (8, 16, 32, 64)
        for seed in range(5)
    ]
    pd.DataFrame(rows).to_csv(path / "runs.csv", index=False)
    return path


def adapted(command: str, folder: Path) -> list[str]:
    """The command for this test: our interpreter, files in `folder`, small budgets for what trains."""
    program, *words = shlex.split(command)
    words = [sys.executable, *([] if program == "python" else ["-m", "equilaw"]), *words]
    names = {"runs.csv", "fits.json", "forecast.json", "figures", "train.xyz", "test.xyz", "runs", "tuning", "card"}
    names |= {"report.html", "exponents.md", "exponents.tex"}
    for i, word in list(enumerate(words))[4:]:  # past the command's own name, which may be a file's too
        key, equals, value = word.rpartition("=")
        if value in names:
            words[i] = f"{key}{equals}{folder / value}"
    if "--name" in words:  # tuned rates go to the test's folder
        words[words.index("--name") : words.index("--name") + 2] = ["--out", str(folder / "star.yaml")]
    words = [word.replace("tuned=star", f"tuned={folder / 'star.yaml'}") for word in words]
    if "info" in words:
        words += ["--seeds=1", "--test-frames=5", *[word.replace("data=star", "data.seed=0") for word in SMALL_STAR]]
    elif "calibrate" in words:
        words += ["--tables", "4"]
    elif {"+sweep=groups", "+sweep=groups_control", "+sweep=optimizers"} & set(words):
        words.append("hydra.launcher.submit=false")  # they take an hour
    elif "benchmarks.optimizers" in words:
        words = [*words[:3], "--help"]
    elif "model=point_kernel" in words:
        words += [f"store={folder / 'points'}", "data.pool=1280", "data.test=8"]
    elif words[2] == "experiments" and "+sweep=demo" not in words:
        store = folder / (
            "tuning" if "+sweep=tune" in words else "checked" if "+sweep=budget_check" in words else "runs"
        )
        words = [word for word in words if not word.startswith("training.max_steps=")]
        words += [f"store={store}", *CHEAP]
        if "match=weights" in words:  # of two channels none has the size of another
            words.append("model.channels=8")
        words = [word for word in words if word != "data=star"]
        words += [] if "data=extxyz" in words else SMALL_STAR
    return words


NEEDS = {
    " table ": ("runs", "python -m experiments P="), " slurm status ": ("runs", "python -m experiments P="),
    "--by": ("checked", "+sweep=budget_check"), "equilaw tune ": ("tuning", "+sweep=tune"),
    "training.tuned=star": ("star.yaml", "equilaw tune "),
}  # fmt: skip
"""Part of a command → what must lie in the folder, and part of the README's command that makes it."""


def prepare(command: str, folder: Path) -> None:
    """Run the commands that this one builds on, where they have not run here: tests may be spread over processes."""
    for part, (needed, maker) in NEEDS.items():
        if part in command and not (folder / needed).exists():
            first = next(other for other in commands() if maker in other)
            prepare(first, folder)
            subprocess.run(adapted(first, folder), cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith(("python ", "equilaw "))])
def test_command_of_a_page_runs(command: str, folder: Path) -> None:
    prepare(command, folder)
    if " fetch " in command:  # no network: the file was put there by hand
        by_hand = Path(os.environ["EQUILAW_DATA"]) / "water" / "dataset_1593.xyz"
        by_hand.parent.mkdir(exist_ok=True)
        by_hand.write_bytes(b"192\n")
    words = adapted(command, folder)
    if "--by" in words and "--store" in words:
        words[words.index(str(folder / "runs"))] = str(folder / "checked")
    if " table " in command:
        words[words.index(str(folder / "runs.csv"))] = str(folder / "of_store.csv")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", IN_ORDER)
def test_a_page_can_be_followed_from_the_top(page: str, folder: Path, tmp_path: Path) -> None:
    for name in ("train.xyz", "test.xyz"):
        shutil.copy(folder / name, tmp_path / name)
    lines = shell_lines(ROOT / page)
    assert len(lines) >= 5
    for line in lines:
        program, *words = shlex.split(line)
        words = words if program == "python" else ["-m", "equilaw", *words]
        if words[1] == "experiments":
            words = [word for word in words if word.partition("=")[0] not in ("P", "seed", "data.test_frames")]
            words += ["P=2,4,8", "seed=0,1", "data.test_frames=4"]
            small = {"model=ntk": ["model.channels=2", "+model.radial_hidden=[4]"], "model=mace": CHEAP}
            words += next((more for model, more in small.items() if model in words), [])
        words += ["--seeds=1", "--test-frames=5"] if "info" in words else []
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert (tmp_path / "report.html").stat().st_size > 0
    assert (tmp_path / "figures" / "learning_curves.png").stat().st_size > 0


def test_every_page_with_tests_of_its_own_is_read_by_them() -> None:
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / "tests" / test).read_text(encoding="utf-8")


def test_python_of_the_pages_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL)
    known: dict[str, object] = {}
    exec(compile(block, "docs/python.md", "exec"), known)
    assert (tmp_path / "learning_curves.png").exists()
    assert len(known["pairs"]) == 1  # type: ignore[arg-type]
    assert doctest.testmod(notebook).failed == 0


def test_the_glossary_explains_every_flag() -> None:
    tree = ast.parse((ROOT / "analysis" / "fits" / "flags.py").read_text(encoding="utf-8"))
    flags = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Flag")
    pairs = zip(flags.body, flags.body[1:], strict=False)
    meant = {
        str(ast.literal_eval(name.value)): " ".join(str(ast.literal_eval(text.value)).split())
        for name, text in pairs
        if isinstance(name, ast.Assign) and isinstance(text, ast.Expr)
    }
    part = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("## Flags")[2]
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", part, flags=re.MULTILINE)) == meant


def test_readme_names_only_targets_that_make_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named
    assert named <= targets


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_knows_how_to_make_what_readme_names() -> None:
    for target in ("demo", "test", "bench", "test-faults", "slurm"):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_make_env_leaves_a_torch_built_for_another_cuda_alone(tmp_path: Path) -> None:
    """As the README says of torch 2.13.0+cu126: what the Makefile asks pip for is then there already."""
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert """"$$(grep '^torch==' constraints.txt)"\n""" in (ROOT / "Makefile").read_text()
    (shown,) = re.findall(r"pip install (torch==[\d.]+)\+(\w+) ", README)
    assert shown[0] == torch
    version = "+".join(shown).removeprefix("torch==")
    pretended = tmp_path / f"torch-{version}.dist-info"
    pretended.mkdir()
    (pretended / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    (pretended / "RECORD").touch()
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--disable-pip-version-check"]
    ended = subprocess.run(
        [*pip, "--constraint", "constraints.txt", torch, "torch>=2.10"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    if "No module named pip" in ended.stderr:
        pytest.skip("this environment has no pip")
    assert ended.returncode == 0, ended.stderr
    assert f"Requirement already satisfied: {torch} in {tmp_path} ({version})" in ended.stdout
    assert "Would install" not in ended.stdout


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_resolve(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith(("http", "mailto:")):
            continue
        file, _, heading = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if heading:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}, link


def test_the_first_screen_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_table_of_rooms_names_folders_that_exist() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `([a-z]+/)` \|", guide.partition("## The rooms")[2], flags=re.MULTILINE)
    assert len(rooms) == 6
    assert [room for room in rooms if not (ROOT / room).is_dir()] == []
