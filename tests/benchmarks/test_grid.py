from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.benchmarks import tuning as bests
from lsmbench.benchmarks.plan import Manifest
from lsmbench.benchmarks.tuning import Best, Candidate, Trial
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.runs.results import write_json
from tests.toys import Scarce


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "scarce", Scarce)


SMALL: dict[str, Any] = {
    "name": "small",
    "title": "Small",
    "dataset": {"name": "sit", "size": 32, "samples": 40},
    "method": {"network": "tiny", "learning_rate": 0.002},
    "methods": {"floor": None, "copy": {"name": "floor", "kind": "copy"}, "baseline": None, "lsm": {"w_yx": 0.5}},
    "paired": [100, 50],
    "seeds": [0, 1],
    "training": {"epochs": 1, "batch_size": 6, "steps_per_epoch": 2},
}


def written(folder: Path, name: str = "small.yaml", **changes: Any) -> str:
    path = folder / name
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return str(path)


def test_the_grid_is_methods_by_n_by_seeds_with_floors_once(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path)))
    cells = [(r.label, r.paired, r.seed) for r in grid.runs]
    assert cells[:2] == [("floor", None, None), ("copy", None, None)]
    trained = [(m, n, s) for s in (0, 1) for n in (100, 50) for m in ("baseline", "lsm")]
    assert cells[2:] == trained
    assert len({r.id for r in grid.runs}) == len(grid.runs)
    lsm = next(r.config for r in grid.runs if r.label == "lsm" and r.paired == 50 and r.seed == 1)
    assert lsm.method.w_yx == 0.5  # type: ignore[attr-defined]
    assert lsm.method.learning_rate == 0.002
    assert (lsm.supervision.supervision_seed, lsm.training.init_seed, lsm.supervision.split_seed) == (1, 1, None)
    assert grid.primary_metric == "iou"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"margins": {"dice": 0.1}}, "'dice' is no metric here"),
        ({"margins": {"iou": 1.5}}, "0 to 1"),
        ({"margins": {"iou": 0}}, "above 0"),
        ({"margins": {"iou": "1 %"}}, "found '1 %'"),
        ({"reference": "baselin"}, "did you mean baseline"),
        ({"looks": {"first": 3, "precision": 0.1}}, "most"),
    ],
)
def test_margins_reference_and_looks_are_checked(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        grids.expand(definition.load(written(tmp_path, **changes)))


def test_margins_and_reference_are_in_the_manifest(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path, margins={"iou": 0.01}, reference="lsm")))
    plan = Manifest.model_validate(grid.manifest("x"))
    assert (plan.margins, plan.reference, plan.looks) == ({"iou": 0.01}, "lsm", None)


def test_options_of_refinement_are_combined_and_named_where_they_are_not_the_usual_ones(tmp_path: Path) -> None:
    asked = {"refine_steps": [5, 9], "w_encoder": [1e-3, 0.1], "refine_noise": False}
    grid = grids.expand(definition.load(written(tmp_path, methods={"lsm": None}, refine=asked)))
    assert [row for row in grid.manifest("")["methods"] if row != "lsm"] == [
        f"lsm, {steps} steps{pull}, noise fixed" for steps in (5, 9) for pull in ("", ", λ3 0.1")
    ]
    assert len(set(grid.runs[0].refined_folders(tmp_path).values())) == 4


def test_runs_of_methods_that_have_a_code_are_also_evaluated_with_refined_codes(tmp_path: Path) -> None:
    plain = grids.expand(definition.load(written(tmp_path)))
    grid = grids.expand(definition.load(written(tmp_path, sizes={"a": {"refine": {"refine_steps": [3, 20]}}}), "a"))
    assert [run.id for run in grid.runs] == [run.id for run in plain.runs]
    assert {run.label for run in grid.runs if run.refine} == {"lsm"}
    said = grid.manifest("")
    assert said["methods"] == ["floor", "copy", "baseline", "lsm", "lsm, 3 steps", "lsm, 20 steps"]
    assert {row for row, steps in said["method_summaries"].items() if not steps} == set()
    write_json(tmp_path / "results" / "benchmark.json", said)
    plan = Manifest.load(tmp_path / "results")
    assert plan.methods == tuple(said["methods"])
    assert plan.evaluated == {"lsm, 3 steps": "lsm", "lsm, 20 steps": "lsm"}
    lsm = [run for run in grid.runs if run.label == "lsm"]
    evaluations = [run for run in plan.runs if run.of]
    assert len(evaluations) == 2 * len(lsm)
    first = evaluations[0]
    assert (first.of, first.paired, first.seed) == (lsm[0].id, lsm[0].paired, lsm[0].seed)
    root = tmp_path / "runs"
    folders = {folder for run in lsm for folder in run.refined_folders(root).values()}
    assert {one.folder(root) for one in evaluations} == folders
    before = Manifest.model_validate(plain.manifest(""))
    assert [run.of for run in before.runs] == [None] * len(plain.runs)


def test_seeds_change_neither_split_nor_data(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path)))
    assert len({str(r.config.to_dict()["dataset"]) for r in grid.runs}) == 1
    assert {r.config.supervision.split_seed for r in grid.runs} == {None}


def test_sizes_and_overrides_take_precedence_in_order(tmp_path: Path) -> None:
    sizes = {"a": {"training": {"epochs": 5}}, "b": {"training": {"epochs": 7}, "seeds": [4]}}
    path = written(tmp_path, sizes=sizes, size="a")
    assert definition.load(path).training == {**SMALL["training"], "epochs": 5}
    assert definition.load(path).name == "small"
    b = definition.load(path, "b", {"training": {"patience": 2}})
    assert b.training == {**SMALL["training"], "epochs": 7, "patience": 2}
    assert (b.name, b.seeds, b.size) == ("small-b", [4], "b")


def test_a_size_holds_where_the_options_agree_and_none_is_named(tmp_path: Path) -> None:
    sizes = {"a": {"training": {"epochs": 5}}, "b": {"when": {"dataset": {"size": 64}}, "training": {"epochs": 7}}}
    path = written(tmp_path, sizes=sizes, size="a")
    assert definition.load(path).size == "a"
    fits = {"dataset": {"size": 64, "samples": 40}}
    b = definition.load(path, overrides=fits)
    assert (b.size, b.name, b.training["epochs"], b.dataset["size"]) == ("b", "small-b", 7, 64)
    assert definition.load(path, "a", fits).training["epochs"] == 5
    assert definition.load(path, overrides={"dataset": {"size": 48}}).size == "a"


def test_what_runs_after_a_benchmark_is_not_inherited(tmp_path: Path) -> None:
    written(tmp_path, "base.yaml", then=["quick"])
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump({"extends": "base.yaml", "name": "more"}))
    assert definition.load(str(tmp_path / "base.yaml")).then == ["quick"]
    assert definition.load(str(path)).then == []


def test_a_benchmark_can_extend_another(tmp_path: Path) -> None:
    written(tmp_path, "base.yaml", published={"source": "s", "values": {}})
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump({"extends": "base.yaml", "name": "more", "paired": [10]}))
    more = definition.load(str(path))
    assert (more.name, more.paired, more.published) == ("more", [10], {"source": "s", "values": {}})
    assert list(more.methods) == list(SMALL["methods"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"lsmm": None}}, r"unknown method 'lsmm'; did you mean lsm"),
        (
            {"methods": {"lsm": {"w_confusio": 1}}},
            r"method\.w_confusio; did you mean method\.w_confusion",
        ),
        ({"dataset": {"name": "sti"}}, r"unknown dataset 'sti'; did you mean sit"),
        ({"pared": [1]}, r"small\.yaml: unknown key pared; did you mean paired"),
        ({"paired": [1]}, "leaves no pair"),
        ({"supervision": {"folds": 30}, "dataset": {"name": "scarce"}}, "30 folds were asked for, and .* has 15 pairs"),
        ({"supervision": {"folds": 5, "fold": 1}}, "a benchmark runs all of its folds"),
        ({"methods": {"lsm": {"supervision": {"folds": 5}}}}, "all rows on the same ones"),
        ({"paired": [120]}, "between 0 and 100"),
        ({"seeds": []}, r"says nothing of seeds"),
        ({"refine": {"refine_steps": [5, 0]}}, "refine: expected whole numbers above 0 for refine_steps, found 0"),
        ({"refine": {"refine_steps": "many"}}, "refine: expected whole numbers above 0 for refine_steps, found 'many'"),
        ({"refine": {"steps": 5}}, "refine: unknown option steps"),
        ({"refine": {"w_encoder": "much"}}, "w_encoder"),
        ({"training": {"epoch": 1}}, r"training\.epoch; did you mean training\.epochs"),
    ],
)
def test_mistakes_are_found_before_anything_is_run(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        grids.expand(definition.load(written(tmp_path, **changes)))


def test_unknown_names_and_sizes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown benchmark 'quik'; did you mean quick"):
        definition.load("quik")
    with pytest.raises(UserError, match=r"has no size 'big'; it has none"):
        definition.load(written(tmp_path), "big")
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        definition.load(str(tmp_path / "absent.yaml"))


def test_a_users_file_can_extend_one_of_the_packages_from_anywhere(tmp_path: Path) -> None:
    folder = DATASETS["folder"].example(tmp_path / "files")
    path = tmp_path / "mine.yaml"
    said = {
        "extends": "folder.yaml",
        "name": "mine",
        "title": "Mine",
        "dataset": {"root": vars(folder)["root"], "size": 32},
    }
    path.write_text(yaml.safe_dump({**said, "paired": [100], "size": None}))
    benchmark = definition.load(str(path))
    assert benchmark.name == "mine"
    assert "lsm" in {run.label for run in grids.expand(benchmark).runs}


def test_every_benchmark_is_packaged() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    packaged = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    files = {Path(path).stem for path in packaged if path.startswith("benchmarks/")}
    assert files == {path.stem for path in root.glob("benchmarks/*.yaml")}


SIZES = [
    (name, size)
    for name, default in ((name, definition.load(name)) for name in sorted(definition.available()))
    for size in dict.fromkeys([default.size, *default.sizes])
]
NEED_FILES = {("sit-released", size) for size in ("paper", "small", "tiny")} | {
    ("sss", "paper"),
    ("sss-ablation", "paper"),
}


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_benchmark_of_the_package_expands_at_every_size(
    name: str, size: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    benchmark = definition.load(name, size)
    benchmark.seeds = benchmark.seeds[:1]  # the others give the same runs again
    if (name, size) in NEED_FILES:
        with pytest.raises(UserError, match="LSMBENCH_DATA"):
            grids.expand(benchmark)
        return
    kind = DATASETS[benchmark.dataset["name"]]
    if "root" in kind.__dataclass_fields__ and kind.name != "sss":
        with pytest.raises(UserError, match=r"LSMBENCH_DATA|root"):
            grids.expand(benchmark)
        options = dataclasses.asdict(kind.example(tmp_path))
        for option in ["root"] if kind.paired else options:
            monkeypatch.setitem(benchmark.dataset, option, options[option])
        if not kind.paired:
            assert benchmark.paired == [0]
        elif benchmark.paired_count is None:
            benchmark.paired = [100]  # 1 % of 40 samples is no pair
        else:
            benchmark.paired_count = [1]
            benchmark.supervision["unpaired"] = None  # nor are there a hundred
            for label in ("hybrid-gta", "hybrid-synscapes"):  # banks need files of their own
                benchmark.methods.pop(label, None)
    else:
        monkeypatch.setitem(benchmark.dataset, "samples", 40)
        benchmark.paired = [100]
    grid = grids.expand(benchmark)
    # The encoder's weights are an extra, and its benchmark of photos made from labels has no photos to start from.
    optional = {label for label in grid.benchmark.methods if label.startswith("ridge-encoder")}
    assert {r.label for r in grid.runs} | optional == set(grid.benchmark.methods)
    assert grid.skipped.keys() <= optional
    assert any(o.get("name", m) == "floor" for m, o in benchmark.methods.items()), "no table without a floor"


def test_tables_1_and_3_are_typed_as_printed() -> None:
    faces, slices = (definition.load(name).published or {} for name in ("300w", "sss"))
    columns = (100, 60, 10, 5, 4, 3, 2, 1)
    assert [faces["values"]["lsm"][n] for n in columns] == [0.0953, 0.105, 0.181, 0.222, 0.227, 0.243, 0.248, 0.265]
    assert faces["values"]["cyclegan"] == {100: 0.230}, "printed in the first column only"
    assert [slices["values"]["lsm"][n] for n in columns] == [0.838, 0.829, 0.769, 0.739, 0.723, 0.721, 0.670, 0.611]
    assert set(slices["values"]["cyclegan"].values()) == {0.718}
    assert definition.load("faces").published is None, "another data set's numbers are not shown beside drawn faces"


def test_table_2_is_typed_as_printed() -> None:
    published = definition.load("sit").published
    assert published is not None
    values = published["values"]
    assert [values["lsm"][n] for n in (100, 60, 10, 5, 4, 3, 2, 1)] == [
        0.732, 0.650, 0.432, 0.385, 0.377, 0.375, 0.363, 0.327,
    ]  # fmt: skip


def outcome(**changes: Any) -> Best:
    """A sweep's outcome; only what a benchmark asks of it matters here."""
    parameters = changes.get("parameters", {"learning_rate": 0.01})
    trial = Trial(number=0, state="finished", validation=0.5, seconds=1.0, parameters=parameters)
    values: dict[str, Any] = {
        "study": "small/lsm/N50", "benchmark": "small", "row": "lsm", "method": "lsm", "amount": 50.0, "unit": "%",
        "metric": "iou",
        "higher_is_better": True, "floor": 0.3, "parameters": parameters, "trial": 0, "seed": 1000,
        "seeds": [1001], "candidates": [Candidate(trial=0, validations=[0.5])], "sampler": "gp", "pruner": "none",
        "space": dict.fromkeys(parameters, (1e-6, 0.1)), "importance": {}, "seconds": 1.0,
        "trials": [trial], "setting": {}, "fingerprint": "",
        "protocol": "1", "environment": {},
    }  # fmt: skip
    return Best(**{**values, **changes})


def tuned(folder: Path, monkeypatch: pytest.MonkeyPatch, *found: Best, **changes: Any) -> grids.Grid:
    monkeypatch.chdir(folder)
    for one in found:
        bests.save(one, folder / "benchmarks" / "best", "sit")
    return grids.expand(definition.load(written(folder, **changes), overrides={"tuned": True}))


def rates(grid: grids.Grid) -> dict[tuple[str, float | None], float]:
    return {(run.label, run.paired): run.config.method.learning_rate for run in grid.runs}


def test_tuned_rows_have_the_parameters_of_the_nearest_n(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    high = outcome(amount=100.0, parameters={"learning_rate": 0.03, "w_yx": 2.0})
    low = outcome(amount=10.0, parameters={"learning_rate": 0.01, "w_yx": 3.0})
    grid = tuned(tmp_path, monkeypatch, high, low, paired=[100, 60, 20])
    assert [rates(grid)["lsm", n] for n in (100, 60, 20)] == [0.03, 0.03, 0.01]
    assert {run.config.method.w_yx for run in grid.runs if run.label == "lsm"} == {2.0, 3.0}  # type: ignore[attr-defined]
    assert rates(grid)["baseline", 60] == 0.002, "without a sweep the row keeps its own"
    assert [(use.row, use.amounts) for use in grid.uses] == [("lsm", [100, 60]), ("lsm", [20])]
    manifest = grid.manifest("")
    assert manifest["name"] == "small-tuned"
    assert [use["best"]["amount"] for use in manifest["tuned"]] == [100.0, 10.0]
    plain = grids.expand(definition.load(written(tmp_path)))
    assert plain.manifest("")["tuned"] is None
    assert {run.id for run in plain.runs}.isdisjoint(run.id for run in grid.runs if run.label == "lsm")


def test_outcomes_of_the_same_benchmark_come_before_those_of_the_most_similar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run, *_) = [r for r in grids.expand(definition.load(written(tmp_path))).runs if r.label == "lsm"]
    setting = run.config.setting(["learning_rate"])
    other = {**setting, "training": {**setting["training"], "epochs": 7}}
    far = outcome(benchmark="far", parameters={"learning_rate": 0.09}, setting={})
    near = outcome(benchmark="near", parameters={"learning_rate": 0.05}, setting=other)
    grid = tuned(tmp_path, monkeypatch, far, near)
    assert rates(grid)["lsm", 50] == 0.05
    assert [use.differs for use in grid.uses] == [
        ["training.epochs is 1, was 7 in the sweep", "the data is other than the sweep's"]
    ]
    own = outcome(parameters={"learning_rate": 0.04}, setting={**other, "method": {}})
    assert rates(tuned(tmp_path, monkeypatch, own))["lsm", 50] == 0.04


def test_a_row_of_other_pairs_has_its_rows_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"selection": ["random", "k_medoids"], "supervision": {"features": "pixels"}, "methods": {"lsm": None}}
    grid = tuned(tmp_path, monkeypatch, outcome(), **options)
    assert {rate for (label, _), rate in rates(grid).items() if label.startswith("lsm")} == {0.01}
    assert {use.row for use in grid.uses} == {"lsm", "lsm-k_medoids"}


def test_what_a_sweep_switched_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcome(parameters={"learning_rate": 0.01, "w_yx": 2.0})
    (use,) = tuned(tmp_path, monkeypatch, found, methods={"lsm": {"w_yx": 0.0}}).uses
    assert "method.w_yx is 0 without the sweep's value" in use.differs


def test_outcomes_of_another_method_under_the_rows_name_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no sweep has found parameters"):
        tuned(tmp_path, monkeypatch, outcome(method="sop"))


def test_a_file_can_say_that_it_is_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bests.save(outcome(), tmp_path / "benchmarks" / "best", "sit")
    benchmark = definition.load(written(tmp_path, tuned=True))
    assert (benchmark.tuned, benchmark.results) == (True, "small-tuned")


def test_a_tuned_benchmark_needs_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no sweep has found parameters for dataset sit"):
        tuned(tmp_path, monkeypatch)
    with pytest.raises(UserError, match="no sweep has found parameters"):
        tuned(tmp_path, monkeypatch, outcome(unit="pairs"))


FEW: dict[str, Any] = {
    "dataset": {"name": "scarce"},
    "methods": {"floor": None, "baseline": None, "lsm": None, "cyclegan": {"w_identity": 0}},
    "supervision": {"protocol": "disjoint"},
    "paired": [100, 20, 5],
}


def test_few_pairs_are_cross_validated_on_the_same_folds_for_all_rows_and_seeds(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path, **FEW)))
    assert (grid.folds, grid.manifest("")["folds"]) == (5, 5)
    cells = [(run.seed, run.fold, run.paired, run.label) for run in grid.runs if run.label in ("baseline", "lsm")]
    assert cells == [(s, f, n, m) for s in (0, 1) for f in range(5) for n in (100, 20) for m in ("baseline", "lsm")]
    alone = [(run.label, run.paired, run.seed, run.fold) for run in grid.runs if run.label in ("floor", "cyclegan")]
    assert set(alone) == {("floor", None, None, f) for f in range(5)} | {
        ("cyclegan", None, s, f) for f in range(5) for s in (0, 1)
    }
    dealt = {(run.config.supervision.folds, run.config.supervision.split_seed) for run in grid.runs}
    assert dealt == {(5, None)}
    assert {run["fold"] for run in grid.manifest("")["runs"]} == set(range(5))
    assert len({run.id for run in grid.runs}) == len(grid.runs)


def test_the_folds_and_the_n_that_the_data_allows_are_told(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path, **FEW)))
    assert grid.benchmark.paired == [100, 20]
    assert grid.notes == [
        "The 15 pairs are cross-validated in 5 folds: each is tested on once, by runs that never saw it. Each run "
        "validates on 1 of the others, and N is the share of the 11 that remain.",
        "Left out: N = 5 %, since at most 11 training samples can be pairs; the least N with a pair is 9.1 %.",
    ]
    assert grid.manifest("")["notes"] == grid.notes
    with pytest.raises(UserError, match=r"N = 5 % of 11 samples leaves no pair; the least N with one pair is 9\.1 %"):
        grids.expand(definition.load(written(tmp_path, **FEW)), asked=True)
    counted = grids.expand(definition.load(written(tmp_path, **FEW), overrides={"paired_count": [5, 50]}))
    assert counted.benchmark.amounts == [5]
    assert counted.notes[1] == "Left out: N = 50, since at most 11 training samples can be pairs."
    single = definition.load(written(tmp_path, **{**FEW, "supervision": {"folds": None}, "paired": [100]}))
    assert (grids.expand(single).folds, grids.expand(single).notes) == (None, [])


def test_n_of_0_leaves_out_what_learns_from_pairs_alone(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path, **{**FEW, "paired": [20, 0]})), asked=True)
    cells = {(run.label, run.paired) for run in grid.runs}
    assert cells == {("floor", None), ("cyclegan", None), ("lsm", 20), ("lsm", 0), ("baseline", 20)}
    assert grid.notes[1:] == ["baseline learns to translate from pairs alone, and is not run at N = 0."]
    assert grid.skipped == {}


def test_without_any_pair_rows_that_need_none_are_run_and_the_rest_is_told(tmp_path: Path) -> None:
    grid = grids.expand(definition.load(written(tmp_path, **{**FEW, "dataset": {"name": "scarce", "pairs": 0}})))
    assert {(run.label, run.paired, run.fold) for run in grid.runs} == {
        ("floor", None, None), ("cyclegan", None, None), ("lsm", 0, None),
    }  # fmt: skip
    assert grid.skipped == {"baseline": "learns to translate from pairs alone, and N = 0 leaves none"}
    assert grid.notes == [
        "No test sample has both x and y: nothing can be scored. The report shows translations alone.",
        "There is no pair to train with, so that N = 0 stands in place of the benchmark's N.",
    ]
    with pytest.raises(UserError, match="there is no training sample to be a pair"):
        grids.expand(
            definition.load(written(tmp_path, **{**FEW, "dataset": {"name": "scarce", "pairs": 0}})), asked=True
        )
