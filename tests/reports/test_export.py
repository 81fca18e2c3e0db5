import json

import numpy as np
import pandas as pd

from lsmbench.reports.export import write
from lsmbench.reports.frame import read
from tests.reports.made import Disk, fill_disk


def test_every_score_is_in_csv_and_parquet_and_every_column_in_the_dictionary(tmp_path):
    disk = Disk(tmp_path)
    fill_disk(disk)
    disk.run("lsm", 7, 0, [0.1, float("nan")])
    files = {file.name: file for file in write(read([tmp_path / "results", tmp_path / "runs"]), tmp_path / "out")}
    told = json.loads(files["dictionary.json"].read_text())
    for name in ("runs", "samples"):
        table, text = pd.read_parquet(files[f"{name}.parquet"]), pd.read_csv(files[f"{name}.csv"])
        assert list(table) == list(text) == [one["column"] for one in told[name]]
        assert [str(table[one["column"]].dtype) for one in told[name]] == [one["type"] for one in told[name]]
        assert all(one["meaning"] for one in told[name])
        assert len(table) == len(text)
    runs, samples = (pd.read_parquet(files[f"{name}.parquet"]) for name in ("runs", "samples"))
    assert len(runs) == 3 * 3 + 2 + 1
    assert len(samples) == 2 * len(runs)
    one = runs[(runs["row"] == "lsm") & (runs["paired"] == 100) & (runs["seed"] == 1)].iloc[0]
    assert (one["value"], one["init_seed"], one["metric"]) == (0.45, 1, "iou")
    assert json.loads(one["configuration"])["training"]["epochs"] == 3
    mine = samples[samples["run"] == one["run"]]
    assert mine["score"].tolist() == [0.4, 0.5]
    assert np.isnan(samples[samples["paired"] == 7]["score"].iloc[1])
    means = samples.groupby("run")["score"].mean()
    assert np.allclose(means[runs["run"]], runs["value"])


def test_the_same_results_give_the_same_bytes(tmp_path):
    fill_disk(Disk(tmp_path))
    first, second = (write(read([tmp_path / "results"]), tmp_path / name) for name in ("a", "b"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
