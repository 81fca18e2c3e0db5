"""The house: upper rooms use lower ones, never the reverse, and no file needs itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import lsmbench

PACKAGE = Path(lsmbench.__file__).parent

ROOMS = (
    ("__init__", "py.typed"),
    ("errors",),
    ("options", "arguments", "definitions", "imagenet", "lettering", "palettes", "losses", "closed_form"),
    ("metrics", "scores"),
    ("networks",),
    ("domains",),
    ("data",),
    ("datasets",),
    ("methods",),
    ("evaluations",),
    ("runs",),
    ("launch",),
    ("benchmarks",),
    ("reports",),
    ("sweeps",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""From the lowest to the highest; rooms of one row do not use each other."""

FLOOR = {name: number for number, names in enumerate(ROOMS) for name in names}


def module_of(path: Path) -> str:
    """The module's name in the package, e.g. `data.pools`; a room's own is that of its `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The modules of the package that a file imports, inside functions too, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "lsmbench":
                inside = name.partition(".")[2] or "__init__"
                # What follows the module's name is something in it.
                while inside not in MODULES:
                    inside = inside.rpartition(".")[0] or "__init__"
                yield inside, node.lineno


def test_every_file_stands_in_a_known_room() -> None:
    assert {module.partition(".")[0] for module in MODULES} <= FLOOR.keys()


def test_no_arrow_points_upwards() -> None:
    wrong = []
    for module, path in MODULES.items():
        room = module.partition(".")[0]
        for other, line in imports(path):
            there = other.partition(".")[0]
            if there != room and FLOOR[there] >= FLOOR[room]:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} ({room}) imports {other}")
    assert not wrong, "\n".join(wrong)


def test_no_file_needs_itself() -> None:
    graph = {module: {other for other, _ in imports(path)} - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError("a circle of imports: " + " → ".join(error.args[1])) from error
