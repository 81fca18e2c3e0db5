"""The configuration of a run: typed, checked, and the same from the command line, a file or a grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from lsmbench.arguments import expand, nearest, parsed, reject_unknown
from lsmbench.data.dataset import Dataset
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets import DATASETS
from lsmbench.definitions import load_yaml
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import MethodConfig
from lsmbench.options import option, options_of
from lsmbench.runs.identity import Kinds, hashed, shared
from lsmbench.runs.nested import flat

PROTOCOL = "1"
"""Version of everything that decides a score: split, supervision, order, losses, selection. Scores of different
versions are not comparable, and are kept apart."""


@dataclass
class TrainingConfig:
    """The budget, the selection rule and the seed."""

    epochs: int = option(1000, "Most epochs of each stage", unit="epochs", source="LSM, App. B")
    patience: int = option(
        100, "Epochs without a better validation value after which a stage ends", unit="epochs", source="LSM, App. B"
    )
    batch_size: int = option(16, "Samples in an update, over all devices", unit="samples", source="LSM, App. B (SIT)")
    devices: int = option(
        1,
        "GPUs, or processes on a CPU, that divide each update's samples, over all nodes; batch_size is a multiple of "
        "it, and learning_rate stays as it is",
        counts="if_changed",
    )
    steps_per_epoch: int | None = option(
        None,
        "Updates in an epoch; null is the size of the training split divided by batch_size, for every method and N",
        unit="updates",
    )
    selection: Literal["best_validation", "last", "oracle"] = option(
        "best_validation",
        "Which weights are tested: those of the best validation value, or the last (early stopping then never ends a "
        "stage). Where validation samples are scored by labels that no method may know, as in unsupervised domain "
        "adaptation, the first is called oracle",
        source="LSM, App. C",
    )
    init_seed: int = option(0, "Seed of initial weights and of random numbers in training", counts="within_row")
    augment: Literal["none", "crop_flip", "affine"] = option(
        "none",
        "What is done to training views at every draw, pairs alike; of images and masks. crop_flip: enlarged by "
        "286/256, cropped at random to the old size and flipped half of the time. affine: turned by up to 10°, scaled "
        "by .9 to 1.1 and shifted by up to 2 px, of sides above 28 px by up to 2/28 of the side",
        source="crop_flip: Shukla et al., §3.5; affine: LSTNet, §3",
    )
    precision: Literal["32-true", "bf16-mixed", "64-true"] = option(
        "32-true", "Arithmetic of the networks; 64-true is slow, and for telling what is rounding and what is not"
    )


@dataclass
class Machine:
    """Where a run is computed. Not part of its identity."""

    accelerator: Literal["auto", "cpu", "gpu"] = option("auto", "auto takes GPUs if there are some")
    threads: int | None = option(
        None, "CPU threads; null leaves it to torch. Bits are the same for the same number of threads", unit="threads"
    )


@dataclass
class RunConfig:
    """All that decides a run's scores."""

    dataset: Dataset
    method_name: str
    method: MethodConfig
    supervision: SupervisionConfig
    training: TrainingConfig

    def __post_init__(self) -> None:
        """Checks that a choice by labels that no method may know is called so.

        Raises:
            UserError: If it is not, or if something else is called so.
        """
        chosen, hidden = self.training.selection, self.dataset.labels_hidden
        if hidden and chosen == "best_validation":
            raise UserError(
                f"training.selection=best_validation: validation samples of {self.dataset.name} are scored by labels "
                "that no method may know. Choose last, or choose by them all the same with oracle."
            )
        if chosen == "oracle" and not hidden:
            raise UserError(
                f"training.selection=oracle: {self.dataset.name} hides no labels; expected best_validation or last."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the plain values only, not what a dataset keeps in memory."""
        return config_from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, complete with defaults, in the form of a configuration file."""
        return {
            "dataset": {"name": self.dataset.name, **dataclasses.asdict(self.dataset)},
            "method": {"name": self.method_name, **dataclasses.asdict(self.method)},
            "supervision": dataclasses.asdict(self.supervision),
            "training": dataclasses.asdict(self.training),
        }

    def identity(self, contents: str) -> str:
        """The run's name: method, N, seed, fold if there are some, and a hash of configuration, data and protocol.

        Args:
            contents: Fingerprint of the data, as `DataModule.contents`.
        """
        values = self.to_dict()
        digits = hashed([PROTOCOL, contents], values, _declaring(values))
        words = (self.method_name, self.supervision.amount, f"s{self.training.init_seed}", self.supervision.fold_name)
        return "-".join([*filter(None, words), digits])

    def setting(self, searched: Iterable[str] = ()) -> dict[str, Any]:
        """What stays the same in a search: as `setting_of`, without the options of the method that are searched."""
        values = self.to_dict()
        setting: dict[str, Any] = shared(values, _declaring(values))
        setting["method"] = {name: value for name, value in setting["method"].items() if name not in set(searched)}
        return setting


def setting_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration without N, seeds, fold and places of files: runs that share it may be averaged at one N.

    Args:
        config: Plain values as a result holds them, perhaps of another version of lsmbench.
    """
    values = {section: inside if isinstance(inside, Mapping) else {} for section, inside in config.items()}
    return shared(values, _declaring(values), content=str)


def _declaring(values: Mapping[str, Mapping[str, Any]]) -> Kinds:
    """What declares a configuration's options: all datasets and methods, since its own may be unknown; its own last."""
    known: dict[str, dict[str, type[Any]]] = {
        "dataset": {**DATASETS},
        "method": {name: kind.Config for name, kind in METHODS.items()},
    }
    kinds: dict[str, list[type[Any]]] = {"supervision": [SupervisionConfig], "training": [TrainingConfig]}
    for section, table in known.items():
        name = values.get(section, {}).get("name")
        kinds[section] = [*table.values(), *(kind for word, kind in table.items() if word == name)]
    return kinds


def sections(dataset: str, method: str) -> dict[str, type[Any]]:
    """The configuration's sections and the dataclass of each."""
    return {
        "dataset": _known(DATASETS, dataset, "dataset"),
        "method": _known(METHODS, method, "method").Config,
        "supervision": SupervisionConfig,
        "training": TrainingConfig,
    }


def add_options(parser: ArgumentParser, prefix: str, config: type[Any], without: Sequence[str] = ()) -> None:
    """Adds a dataclass's options, or all but some, to a parser as `--prefix.name`, documented."""
    for o in (o for o in options_of(config) if o.name not in without):
        help = o.describe().replace("%", "%%")
        if o.choices:
            parser.add_argument(f"--{prefix}{o.name}", choices=o.choices, default=o.default, help=help)
        else:
            # YAML reads a text such as 255, in dataset.ignore=255, as a number: `_config` makes it a text again.
            kind = str | int | float if o.type is str else o.type
            parser.add_argument(f"--{prefix}{o.name}", type=kind, default=o.default, help=help)


def run_parser(dataset: str, method: str, **kwargs: Any) -> ArgumentParser:
    """The parser of a run's configuration for one dataset and one method."""
    parser = ArgumentParser(exit_on_error=False, **kwargs)
    parser.add_argument("--config", action="config", help="Configuration file, e.g. the config.yaml of a run")
    for section, config in sections(dataset, method).items():
        if section in ("dataset", "method"):
            value = dataset if section == "dataset" else method
            words = ", ".join(DATASETS if section == "dataset" else METHODS)
            parser.add_argument(f"--{section}.name", type=str, default=value, help=f"One of: {words}")
        add_options(parser, f"{section}.", config)
    return parser


def config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Makes a configuration from nested plain values.

    Raises:
        UserError: For an unknown key (with the nearest known one) or a value of the wrong type.
    """
    dataset, method = (_name_in(values, section) for section in ("dataset", "method"))
    parser = _parser(dataset, method, tuple(sections(dataset, method).values()))
    known = [a.dest for a in parser._actions]
    for key, _ in flat(values):
        if key not in known:
            raise UserError(f"unknown option {key}{nearest(key, known)}")
    return _config(parsed(lambda: parser.parse_object(dict(values))))


@lru_cache
def _parser(dataset: str, method: str, kinds: tuple[type[Any], ...]) -> ArgumentParser:
    """As `run_parser`, made once: making it took more than half of the time to read a configuration.

    Args:
        dataset: Its name.
        method: Its name.
        kinds: What declares the options, so that another class of the same name has a parser of its own.
    """
    return run_parser(dataset, method)


def config_from_arguments(arguments: Sequence[str], parser: ArgumentParser) -> tuple[RunConfig, Namespace]:
    """Makes a configuration from command-line arguments (and the file that `--config` names).

    Args:
        arguments: As typed, after the command's word.
        parser: Made by `run_parser` for the dataset and method that the arguments name, with further options.

    Returns:
        The configuration, and all parsed values.

    Raises:
        UserError: As `config_from_dict`.
    """
    expanded = expand(arguments)
    reject_unknown(expanded, parser)
    namespace = parsed(lambda: parser.parse_args(expanded))
    return _config(namespace), namespace


def names_in(arguments: Sequence[str]) -> tuple[str, str]:
    """The dataset and the method that arguments, or the file they name, ask for."""
    found: dict[str, str] = {}
    expanded = expand(arguments)
    for i, word in enumerate(expanded):
        key, _, value = word.partition("=")
        value = value or (expanded[i + 1] if i + 1 < len(expanded) else "")
        if key == "--config":
            file = load_yaml(Path(value))
            for section in ("dataset", "method"):
                if section in file:
                    found.setdefault(section, _name_in(file, section))
        elif key in ("--dataset.name", "--method.name"):
            found[key[2:].split(".")[0]] = value
    return found.get("dataset", "sit"), found.get("method", "lsm")


def _config(namespace: Namespace) -> RunConfig:
    values = namespace.as_dict()
    kinds = sections(values["dataset"]["name"], values["method"]["name"])
    made = {}
    for section, kind in kinds.items():
        texts = {o.name for o in options_of(kind) if o.type is str}
        given = {k: str(v) if k in texts else v for k, v in values[section].items() if k != "name"}
        made[section] = kind(**given)
    training: TrainingConfig = made["training"]
    for name in ("epochs", "patience", "batch_size", "devices"):
        if getattr(training, name) < 1:
            raise UserError(f"training.{name}: expected at least 1, found {getattr(training, name)}.")
    if training.batch_size % training.devices:
        raise UserError(
            f"training.batch_size: {training.batch_size} samples cannot be divided evenly over training.devices="
            f"{training.devices}; expected a multiple."
        )
    return RunConfig(method_name=values["method"]["name"], **made)


def _name_in(values: Mapping[str, Any], section: str) -> str:
    inside = values.get(section)
    if isinstance(inside, str):
        return inside
    if not isinstance(inside, Mapping) or not isinstance(inside.get("name"), str):
        raise UserError(f"the configuration says no {section}.name.")
    return str(inside["name"])


def _known(table: Mapping[str, type[Any]], word: str, what: str) -> type[Any]:
    if word not in table:
        raise UserError(f"unknown {what} {word!r}{nearest(word, table)} Known: {', '.join(table)}.")
    return table[word]
