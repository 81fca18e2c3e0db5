"""What every method must do; a new method is covered by being in METHODS."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import pytest
import torch
from torch import Tensor

from lsmbench.data.module import Batch, DataModule
from lsmbench.data.pools import Pools
from lsmbench.domains import Image
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method, Terms
from lsmbench.methods.phases import only
from lsmbench.options import option, options_of
from lsmbench.runs.config import RunConfig
from lsmbench.runs.run import data_of
from tests.conftest import Make, each_form, loader

KINDS = ("sit", "faces")
"""A dataset of each kind of target, for the tests that take longer: maps and vectors have different networks."""
TRAINED = [name for name, kind in METHODS.items() if kind.trained]
EVERYWHERE = each_form(TRAINED)


def built(config: RunConfig) -> tuple[Method, DataModule]:
    kind = METHODS[config.method_name]
    supported, reason = kind.fits(config.dataset, config.method)
    if "identity loss" in reason:  # asked to switch it off, which is how such data are trained on
        config.method = dataclasses.replace(config.method, w_identity=0.0)  # type: ignore[call-arg]
        supported, reason = kind.fits(config.dataset, config.method)
    if not supported:
        pytest.skip(reason)
    data = data_of(config)
    dataset, seed = data.dataset, config.training.init_seed
    method = kind(data.domains, config.method, dataset.source, dataset.target, seed, dataset.truths)
    data.learner = method
    return method, data


def trainer(**options: Any) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(accelerator="cpu", num_sanity_val_steps=0, **quiet, **options)


@pytest.mark.parametrize("name", METHODS)
def test_options_are_documented_and_defaults_lie_in_their_ranges(name: str) -> None:
    kind = METHODS[name]
    assert (kind.__doc__ or "").strip(), "the first line of the docstring is shown by `lsmbench list`"
    declared = {o.name for o in options_of(kind.Config)}
    assert declared == {f.name for f in dataclasses.fields(kind.Config)}, "declare options with option()"
    for o in options_of(kind.Config):
        assert o.help
        if o.name.startswith("w_"):
            assert o.tunable, f"{o.name} has no range"
            assert o.source, f"{o.name} has no source"
        if o.tunable:
            assert o.low is not None
            assert o.high is not None
            assert o.default == 0 or o.low <= o.default <= o.high, "0 switches a term off"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_holds_no_engineering(name: str) -> None:
    tree = ast.parse(inspect.getsource(inspect.getmodule(METHODS[name])))  # type: ignore[arg-type]
    called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    for forbidden in ("backward", "manual_backward", "zero_grad", "step", "clip_gradients", "requires_grad_"):
        assert forbidden not in called, f"{forbidden} belongs to methods/base.py"


@pytest.mark.parametrize(("name", "dataset"), EVERYWHERE)
def test_each_group_is_updated_alone_and_leaves_no_gradient_elsewhere(name: str, dataset: str, make: Make) -> None:
    method, data = built(make(name, dataset))
    batch = next(iter(data.train_dataloader()))
    for stage in method.stages:
        method.stage = stage
        for phase in stage.phases:
            method.zero_grad(set_to_none=True)
            mine = method.parameters_of(phase.groups)
            assert mine
            views = method.prepare(batch)
            with only(mine, method.parameters()):
                terms = getattr(method, phase.terms_of)(views)
                values = {t: term() for t, term in terms.items() if method.weight(t)}
                assert all(v.ndim == 0 and math.isfinite(v.item()) for v in values.values())
                sum(method.weight(t) * v for t, v in values.items()).backward()  # type: ignore[union-attr]
            learning = {id(p) for p in mine}
            for parameter_name, p in method.named_parameters():
                assert id(p) in learning or p.grad is None, f"{phase.name} leaves a gradient in {parameter_name}"
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


@pytest.mark.parametrize(("name", "dataset"), EVERYWHERE)
def test_a_method_trains_in_anybodys_trainer_with_anybodys_batches(name: str, dataset: str, make: Make) -> None:
    method, data = built(make(name, dataset))
    batches: list[Batch] = [*data.train_dataloader()]
    for stage in method.stages:
        method.stage = stage
        before = {k: v.clone() for k, v in method.state_dict().items()}
        run = trainer(max_epochs=2)
        run.fit(method, loader(batches), data.val_dataloader())
        assert run.global_step == 2 * len(batches), "global_step counts updates, not optimisers"
        assert math.isfinite(run.callback_metrics[method.monitor])
        after = method.state_dict()
        groups = {group for phase in stage.phases for group in phase.groups}
        averages = [average for group, average in method.averages.items() if group in groups]
        moved = {id(p) for network in averages for p in network.parameters()}
        moved |= {id(p) for p in method.parameters_of(groups)}
        for parameter_name, p in method.named_parameters():
            if id(p) not in moved:
                assert torch.equal(before[parameter_name], after[parameter_name]), f"{parameter_name} is frozen here"
        assert any(not torch.equal(before[k], after[k]) for k in before)


# Sampling is the DataModule's, the same for every method: one kind of it for each kind of target.
@pytest.mark.parametrize(("dataset", "sampling"), zip(KINDS, ("unbalanced", "balanced"), strict=True))
@pytest.mark.parametrize("name", TRAINED)
def test_nan_planted_in_hidden_views_changes_nothing(name: str, dataset: str, sampling: str, make: Make) -> None:
    weights = []
    for poison in (False, True):
        method, data = built(make(name, dataset, paired=40, supervision={"sampling": sampling}))
        (pool,) = data.pools.pools
        arrays = {v: np.array(a) for v, a in pool.views.items()}
        for view, domain in data.domains.items():
            if isinstance(domain, Image):
                arrays[view] = arrays[view].astype(np.float32) / 255
            shown = [numbers for views, numbers in data.supervision.groups.items() if view in views]
            hidden = np.setdiff1d(data.train, np.concatenate(shown))
            assert len(hidden), "nothing is hidden: the test would prove nothing"
            if poison:
                arrays[view][hidden] = np.nan if np.issubdtype(arrays[view].dtype, np.floating) else 255
        data.pools = Pools([dataclasses.replace(pool, views=arrays)])
        for stage in method.stages:
            method.stage = stage
            trainer(max_epochs=1).fit(method, datamodule=data)
        weights.append({k: v.clone() for k, v in method.state_dict().items()})
    for parameter_name, value in weights[0].items():
        assert torch.equal(value, weights[1][parameter_name]), parameter_name


@pytest.mark.parametrize("paired", [0, 8, 50, 100])
@pytest.mark.parametrize("dataset", KINDS)
@pytest.mark.parametrize("name", TRAINED)
def test_sets_without_samples_are_no_problem(name: str, dataset: str, paired: float, make: Make) -> None:
    config = make(name, dataset, paired=paired, supervision={"sampling": "unbalanced"})
    method, data = built(config)
    if not set(method.uses) & set(data.supervision.groups):
        pytest.skip("learns from pairs only")
    losses = list(_losses(method, [*data.train_dataloader()]))
    assert losses
    assert all(math.isfinite(loss.item()) for loss in losses)


def _losses(method: Method, batches: list[Batch]) -> Iterator[Tensor]:
    for stage in method.stages:
        method.stage = stage
        for batch in batches:
            views = method.prepare(batch)
            for phase in stage.phases:
                for term, value in getattr(method, phase.terms_of)(views).items():
                    if method.weight(term):
                        yield value()


@pytest.mark.parametrize("dataset", KINDS)
@pytest.mark.parametrize("name", TRAINED)
def test_methods_start_from_the_same_weights_and_the_seed_decides_them(name: str, dataset: str, make: Make) -> None:
    first, again, other = (built(make(name, dataset, seed=s))[0].state_dict() for s in (0, 0, 1))
    baseline = built(make("baseline", dataset, seed=0))[0].state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    weights = [k for k in first if k.endswith("weight") and first[k].ndim > 1]
    # FCN-8s' scores start at zero and its upsampling bilinearly, whatever the seed.
    drawn = [k for k in weights if ".score_" not in k and ".up_" not in k]
    assert drawn
    assert all(not torch.equal(first[k], other[k]) for k in drawn)
    shared = first.keys() & baseline.keys()
    assert all(torch.equal(first[k], baseline[k]) for k in shared)


@pytest.mark.parametrize(("name", "dataset"), EVERYWHERE)
def test_translations_have_the_targets_form(name: str, dataset: str, make: Make) -> None:
    method, data = built(make(name, dataset))
    shown: dict[str, Tensor] = {}
    for views in next(iter(data.train_dataloader())).values():
        for view, some in views.items():
            shown.setdefault(view, some)
    for source, target in method.directions:
        answer = method.answer if target == method.target else method.domains[target]
        (like,) = [shown[view] for view, domain in method.domains.items() if domain is answer]
        predicted = method.predict(shown, source, target)
        assert predicted.shape == (len(shown[source]), *like.shape[1:])
        assert predicted.dtype == like.dtype


@pytest.mark.parametrize("dataset", KINDS)
@pytest.mark.parametrize("name", TRAINED)
def test_names_of_terms_do_not_depend_on_the_batch(name: str, dataset: str, make: Make) -> None:
    """Weights are compared with the terms of an empty batch when a method is made."""
    method, data = built(make(name, dataset))
    batch: Batch = {shown: views for part in data.train_dataloader() for shown, views in part.items()}
    for stage in method.stages:
        method.stage = stage
        for phase in stage.phases:
            found = [
                set(getattr(method, phase.terms_of)(method.prepare(part)))
                for part in ({}, batch, *({shown: views} for shown, views in batch.items()))
            ]
            assert found[0]
            assert all(terms == found[0] for terms in found), phase.name


@pytest.mark.parametrize("name", TRAINED)
def test_a_weight_without_a_term_is_refused(name: str, make: Make) -> None:
    kind, config = METHODS[name], make(name).method
    misspelt = dataclasses.make_dataclass(
        "Misspelt", [("w_tpyo", float, option(1.0, "misspelt", low=0.1, high=10, source="test"))], bases=(kind.Config,)
    )
    other = type(kind.__name__, (kind,), {"Config": misspelt})
    domains = data_of(make(name)).domains
    with pytest.raises(TypeError, match=f"{kind.__name__}: no loss term has the weight w_tpyo"):
        other(domains, misspelt(**dataclasses.asdict(config)))


@pytest.mark.parametrize("name", TRAINED)
def test_a_term_without_a_weight_is_refused(name: str, make: Make) -> None:
    kind, config = METHODS[name], make(name).method
    domains = data_of(make(name)).domains
    phase = kind(domains, config).stages[-1].phases[-1]

    def misspelt(self: Method, views: Any) -> Terms:
        return {**getattr(kind, phase.terms_of)(self, views), "tpyo": lambda: torch.zeros(())}

    other = type(kind.__name__, (kind,), {phase.terms_of: misspelt})
    with pytest.raises(TypeError, match=f"{kind.__name__}: no weight is declared for tpyo"):
        other(domains, config)


def test_no_file_of_the_package_calls_backward_itself() -> None:
    root = Path(inspect.getfile(Method)).parents[1]
    # A judge is no method: it is trained once, on one processor, before any run.
    for path in set(root.rglob("*.py")) - {root / "domains" / "judges.py"}:
        source = path.read_text().replace("manual_backward(", "")
        assert ".backward(" not in source, path
