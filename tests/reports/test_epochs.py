from lsmbench.reports import epochs, figures
from tests.reports.made import Benchmark


def test_epochs_of_all_stages_are_counted_through_at_the_greatest_n(tmp_path):
    made = Benchmark(tmp_path / "b", published=())
    one = {"rule": "best_validation", "stages": [{"stage": "main", "epoch": 4, "epochs": 9}]}
    two = {"rule": "best_validation", "stages": [{"stage": "x", "epoch": 1, "epochs": 6}, *one["stages"]]}
    made.add("l", "lsm", 100.0, 0, [0.5], selection=one)
    made.add("m", "lsm", 100.0, 1, [0.5], selection=one | {"stages": [{"stage": "main", "epoch": 0, "epochs": 2}]})
    made.add("i", "ioda", 100.0, 0, [0.5], selection=two)
    made.add("s", "sop", 100.0, 0, [0.5], selection={"rule": "last", "stages": []})
    made.add("k", "lsm", 5.0, 0, [0.5], selection=two)
    made.save()
    table = made.tables()[0]
    column, found = epochs.of(table)
    assert column.paired == 100.0
    assert {one.row.label: (one.selected, one.trained) for one in found} == {
        "lsm": ((5, 1), (9, 2)), "ioda": ((11,), (15,))
    }  # fmt: skip
    assert figures.svg(epochs.figure(table, column, found)).count("<svg") == 1


def test_runs_that_say_nothing_of_epochs_have_no_picture(tmp_path):
    made = Benchmark(tmp_path / "b", published=())
    made.add("l", "lsm", 100.0, 0, [0.5], selection={"rule": "last", "stages": []})
    made.save()
    assert epochs.of(made.tables()[0]) is None
    assert "epochs.svg" not in made.write()
