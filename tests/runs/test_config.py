from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.options import options_of
from lsmbench.runs.config import (
    Machine,
    config_from_arguments,
    config_from_dict,
    names_in,
    run_parser,
    sections,
    setting_of,
)
from lsmbench.runs.run import data_of


def parse(*words: str) -> object:
    return config_from_arguments(words, run_parser(*names_in(words)))[0].to_dict()


def test_short_forms_and_sections_say_the_same() -> None:
    short = parse("--method", "sop", "--dataset=sit", "--paired", "5", "--seed", "3", "--method.w_xy", "0.1")
    full = parse(
        "--method.name=sop", "--dataset.name=sit", "--supervision.paired=5", "--supervision.supervision_seed=3",
        "--training.init_seed=3", "--method.w_xy=0.1",
    )  # fmt: skip
    assert short == full
    assert short["method"]["w_xy"] == 0.1  # type: ignore[index]
    assert short["supervision"]["paired"] == 5.0  # type: ignore[index]


def test_a_file_is_read_and_the_command_line_takes_precedence(tmp_path: Path) -> None:
    first = config_from_dict({"dataset": {"name": "sit", "size": 32}, "method": {"name": "ioda"}})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(first.to_dict()))
    assert parse("--config", str(file)) == first.to_dict()
    changed = parse("--config", str(file), "--epochs", "7")
    assert changed == {**first.to_dict(), "training": {**first.to_dict()["training"], "epochs": 7}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method.w_confusio", "1"], r"unknown option --method\.w_confusio; did you mean --method\.w_confusion\?"),
        (["--supervision.epochs", "1"], r"did you mean --training\.epochs\?"),
        (["--pared", "1"], r"did you mean --paired\?"),
        (["--method", "lsmm"], r"unknown method 'lsmm'; did you mean lsm\? Known: .*baseline"),
        (["--dataset", "sitt"], r"unknown dataset 'sitt'; did you mean sit\?"),
        (["--training.epochs", "many"], r"training\.epochs.*many"),
        (["--training.epochs", "0"], r"training\.epochs: expected at least 1"),
        (["--supervision.protocol", "banc"], r"protocol.*banc"),
        (["--config", "absent.yaml"], r"absent\.yaml: no such file"),
        (["--paired"], "--paired needs a value"),
    ],
)
def test_mistakes_are_named_with_the_nearest_option(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(*words)


def test_mistakes_in_a_file_are_named_too(tmp_path: Path) -> None:
    values = {"dataset": {"name": "sit"}, "method": {"name": "lsm", "w_distanse": 2}}
    with pytest.raises(UserError, match=r"unknown option method\.w_distanse; did you mean method\.w_distance\?"):
        config_from_dict(values)
    file = tmp_path / "c.yaml"
    file.write_text("a: [")
    with pytest.raises(UserError, match=r"c\.yaml: cannot be read as YAML"):
        parse("--config", str(file))


def test_a_text_may_look_like_a_number(tmp_path: Path) -> None:
    for value in (255, "255"):
        values = {"dataset": {"name": "folder", "ignore": value, "root": str(tmp_path)}, "method": {"name": "sop"}}
        assert config_from_dict(values).to_dict()["dataset"]["ignore"] == "255"
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
        assert parse("--config", str(tmp_path / "c.yaml"))["dataset"]["ignore"] == "255"  # type: ignore[index]
    typed = parse("--dataset=folder", "--dataset.root", str(tmp_path), "--dataset.ignore", "255")
    assert typed["dataset"]["ignore"] == "255"  # type: ignore[index]
    with pytest.raises(UserError, match=r"dataset\.ignore"):
        config_from_dict({"dataset": {"name": "folder", "ignore": [255]}, "method": {"name": "sop"}})


def test_help_documents_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(run_parser("sit", "lsm").format_help().split())
    for section, config in sections("sit", "lsm").items():
        for o in options_of(config):
            assert f"--{section}.{o.name}" in text
            assert o.help.split()[0] in text
            assert o.unit in text
    assert "default: 1000" in text
    assert all(o.help for o in options_of(Machine))


def test_identity_depends_on_everything_but_the_machine() -> None:
    values = {"dataset": {"name": "sit"}, "method": {"name": "lsm"}}
    same = {config_from_dict(values).identity("f") for _ in range(2)}
    assert len(same) == 1
    assert config_from_dict({**values, "supervision": {"paired": 100}}).identity("f") in same
    direct = config_from_dict(values)
    direct.supervision.paired = 100  # an int, where the parser makes a float
    assert direct.identity("f") in same
    others = [
        config_from_dict(values).identity("g"),
        config_from_dict({**values, "method": {"name": "lsm", "w_xx": 1.1}}).identity("f"),
        config_from_dict({**values, "training": {"epochs": 999}}).identity("f"),
        config_from_dict({**values, "supervision": {"paired": 99}}).identity("f"),
        config_from_dict({**values, "dataset": {"name": "sit", "samples": 400}}).identity("f"),
    ]
    assert len({*others, *same}) == 6


def test_a_moved_folder_is_the_same_run_and_another_split_of_it_is_not(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("here", "there"))
    for root in (first, second):
        kind = DATASETS["folder"]
        kind.example(root / "train")
        for view in ("images", "masks"):
            for part, chosen in (("val", "3?.png"), ("test", "2?.png")):
                (root / part / view).mkdir(parents=True)
                for path in sorted((root / "train" / view).glob(chosen)):
                    path.rename(root / part / view / path.name)

    def identity(root: Path) -> str:
        config = config_from_dict(
            {"dataset": {"name": "folder", "root": str(root), "size": 32}, "method": {"name": "baseline"}}
        )
        return config.identity(data_of(config).contents)

    before = identity(first)
    assert before == identity(second)
    for view in ("images", "masks"):  # the last of train becomes the first of val: the values and their order stay
        (second / "train" / view / "19.png").rename(second / "val" / view / "19.png")
    assert before != identity(second)


def test_setting_leaves_out_seeds_n_files_and_unused_features() -> None:
    config: dict[str, Any] = {
        "dataset": {"name": "sit", "root": "/a"},
        "method": {"name": "lsm"},
        "supervision": {
            "paired": 5.0,
            "paired_count": None,
            "supervision_seed": 3,
            "features": "pixels",
            "val_pairs": 4,
        },
        "training": {"init_seed": 3, "epochs": 2},
    }
    plain = {"dataset": {"name": "sit"}, "method": {"name": "lsm"}, "training": {"epochs": 2}}
    assert setting_of(config) == plain | {"supervision": {"features": "", "val_pairs": 4}}
    config["supervision"]["selection"] = "k_medoids"
    assert setting_of(config)["supervision"] == {"features": "pixels", "val_pairs": 4, "selection": "k_medoids"}
    config |= {"dataset": {"name": "of a later version", "root": "/b"}, "method": "damaged"}
    assert setting_of(config)["dataset"] == {"name": "of a later version"}
    assert setting_of(config)["method"] == {}
