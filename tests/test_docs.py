"""What README.md, CONTRIBUTING.md and docs/ name exists: links, tables, commands, options, files."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from lsmbench.cli import COMMANDS
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets import DATASETS
from lsmbench.methods import METHODS
from lsmbench.runs.config import TrainingConfig

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *GUIDES]
MAKEFILE = (ROOT / "Makefile").read_text()

all_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_of(page: Path) -> list[str]:
    """The lines of code blocks and the inline code spans of a page."""
    blocks: list[str] = []
    prose: list[str] = []
    for number, part in enumerate(re.split(r"^```.*$", page.read_text(), flags=re.MULTILINE)):
        for line in part.splitlines():
            is_code = number % 2 == 1 or line.startswith("    ")
            (blocks if is_code else prose).append(line)
    spans = re.findall(r"`([^`]+)`", "\n".join(prose))
    return [*blocks, *(" ".join(span.split()) for span in spans)]


def links_of(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@all_pages
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in links_of(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_readme_links_every_guide() -> None:
    assert {f"docs/{guide.name}" for guide in GUIDES} <= {link.partition("#")[0] for link in links_of(README)}


def test_the_readme_is_short() -> None:
    # Tables have a row for each method and dataset, however many there are.
    prose = re.sub(r"^\|.*$", "", README.read_text(), flags=re.MULTILINE)
    assert len(prose.split()) < 800


def test_the_readmes_tables_hold_every_method_and_every_dataset() -> None:
    cells = re.findall(r"^\| (`[^|]+) \|", README.read_text(), re.MULTILINE)
    named = re.findall(r"`([^`]+)`", " ".join(cells))
    assert sorted(named) == sorted([*METHODS, *DATASETS])


@all_pages
def test_targets_of_make_and_their_variables_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
    for line in code_of(page):
        for command in re.findall(r"(?<![\w-])make ([a-z][^#;|]*)", line):
            target, *words = command.split()
            assert target in targets, line
            for name in re.findall(r"\b([A-Z_]+)=", " ".join(words)):
                assert f"$({name})" in MAKEFILE, line


@all_pages
def test_commands_of_lsmbench_exist(page: Path) -> None:
    for line in code_of(page):
        for words in re.findall(r"(?<![\w./-])lsmbench ((?:data )?[a-z]+)", line):
            assert words in COMMANDS, line


@all_pages
def test_options_of_supervision_and_training_exist(page: Path) -> None:
    sections = {"supervision": SupervisionConfig, "training": TrainingConfig}
    for line in code_of(page):
        for section, name in re.findall(r"\b(supervision|training)\.(?!json\b)(\w+)", line):
            assert name in {field.name for field in dataclasses.fields(sections[section])}, line


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda page: page.name)
def test_files_of_the_repository_exist(page: Path) -> None:
    for line in code_of(page):
        for path in re.findall(r"(?<![\w./-])((?:lsmbench|benchmarks|sweeps|tests)/[\w./-]+\.(?:py|yaml))", line):
            assert (ROOT / path).exists(), line
