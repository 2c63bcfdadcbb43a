"""The bibliography and the citation file: whole, marked, and nothing that the program names is missing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"^@(\w+)\{([^,]+),\n(.*?)^\}", flags=re.DOTALL | re.MULTILINE)
BIBLIOGRAPHY = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")


def entries() -> dict[str, dict[str, str]]:
    """Fields of every entry by its key."""
    found = {}
    for _, key, body in ENTRY.findall(BIBLIOGRAPHY):
        assert key not in found, key
        found[key] = dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, flags=re.MULTILINE))
    return found


def test_every_entry_is_whole_and_says_whether_it_was_verified() -> None:
    found = entries()
    assert len(found) == BIBLIOGRAPHY.count("\n@")
    for key, fields in found.items():
        assert {"title", "author", "year", "keywords"} <= set(fields), key
        assert fields["keywords"] in ("verified", "unverified"), key
        assert all(value.count("{") == value.count("}") for value in fields.values()), key
        assert {"journal", "booktitle", "eprint", "publisher", "howpublished"} & set(fields), key


def named() -> set[str]:
    """arXiv numbers and DOIs in the code, the configuration and the documentation."""
    paths = [
        p
        for folder in ("experiments", "analysis", "benchmarks", "conf", "slurm", "docs")
        for p in (ROOT / folder).rglob("*")
    ]
    texts = [p.read_text(encoding="utf-8") for p in paths if p.suffix in (".py", ".yaml", ".md")]
    joined = "\n".join(texts)
    dois = {doi.rstrip(".,;") for doi in re.findall(r"\bdoi (10\.\d{4,}/[^\s)\"]+)", joined)}
    return set(re.findall(r"arXiv[: ](\d{4}\.\d{4,5})", joined)) | dois


@pytest.mark.parametrize("name", sorted(named()))
def test_what_the_program_names_is_in_the_bibliography(name: str) -> None:
    assert name in {value for fields in entries().values() for value in (fields.get("eprint"), fields.get("doi"))}


def test_citation_file_has_what_the_format_asks_for() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert (found["cff-version"], found["version"], found["license"]) == (
        "1.2.0",
        project["version"],
        project["license"],
    )
    assert all("name" in author or "family-names" in author for author in found["authors"])
