import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import aiayn.bench.choices
from aiayn.bench import ours
from aiayn.bench.choices import CHOICES, Choice, bench_choices, library_attention
from aiayn.bench.choices import summary as summary_of_choices
from aiayn.bench.workloads import TRAINING
from aiayn.evidence.bench_tables import render_bench
from aiayn.model.transformer import attention, causal_mask, padding_mask
from aiayn.training.mesh import data_mesh


def _losses(workload, choice=None):
    """After four updates and after eight; without the choice, where there is one."""
    if not choice:
        run = ours.trainer(workload).run
        return [run(4)["loss"], run(4)["loss"]]
    with choice.change():
        run = ours.trainer(choice.workload(workload)).run
        return [run(4 // choice.steps_at_once)["loss"] for _ in range(2)]


def test_rows_need_not_divide_by_the_devices(monkeypatch):
    workload, losses = replace(TRAINING["tiny"], num_rows=2), []
    for count in (1, 3):
        monkeypatch.setattr(ours, "data_mesh", lambda n=count: data_mesh(jax.devices()[:n]))
        losses.append(ours.trainer(workload).run(2)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.slow
def test_without_a_choice_the_step_computes_the_same():
    workload = replace(TRAINING["tiny"], width=32)  # two sentences a row
    wanted = _losses(workload)
    undropped = replace(workload, model=replace(workload.model, dropout_rate=0.0))
    wanted_undropped = _losses(undropped)
    assert wanted_undropped != wanted
    for name, choice in CHOICES.items():
        if not choice.fits(workload):
            assert {"kernel", "cuBLAS"} & set(name.replace(",", "").split()), "which need a GPU"
        elif name == "dropout at all":
            assert choice.workload(workload) == undropped, "all that it is"
            assert choice.change is nullcontext
        elif choice.instead.startswith(("Threefry", "RBG")):  # other masks, as many
            found = _losses(workload, choice)
            assert found != wanted, name
            assert found == pytest.approx(wanted, rel=0.1), name
        elif name == "packed rows":  # masks go by rows
            assert _losses(undropped, choice) == pytest.approx(wanted_undropped, rel=1e-5), name
        else:
            rel = 1e-2 if name == "type of products" else 1e-5
            assert _losses(workload, choice) == pytest.approx(wanted, rel=rel), name


@pytest.mark.parametrize("length", [64, 192])
def test_attention_of_packed_rows_is_that_of_jax(length):
    rng = np.random.default_rng(0)
    q, k, v, seen = (jnp.asarray(rng.normal(size=(2, 2, length, 8)), jnp.float32) for _ in range(4))
    segments = jnp.asarray(np.sort(rng.integers(1, 4, (2, length)), axis=1))

    @partial(jax.jit, static_argnums=0)
    def values_and_gradients(attend, mask):
        def loss(q, k, v):
            found = attend(q, k, v, mask)
            return (found * seen).sum(), found

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v)

    other = partial(library_attention, implementation="xla")
    for mask in (padding_mask(segments, segments), causal_mask(segments)):
        found, wanted = (values_and_gradients(attend, mask) for attend in (attention, other))
        for one, same in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5)


def test_a_failure_without_a_text_is_named_and_the_others_are_tried(tmp_path, monkeypatch):
    def refused(choice, workload):
        if choice.instead == "nothing":
            return {"first_loss": 1.0}, dict
        raise NotImplementedError

    monkeypatch.setattr(aiayn.bench.choices, "_warmed_up", refused)
    some = dict.fromkeys(("one", "two"), Choice("none"))
    record = bench_choices("tiny", tmp_path, Console(quiet=True), some)
    failed = [found["failed"] for found in record["choices"].values()]
    assert failed == ["NotImplementedError"] * 2


@pytest.mark.slow
def test_choices_are_timed_in_turns_with_the_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(aiayn.bench.choices, "ROUNDS", 2)

    def broken(*_):
        so_far = json.loads((tmp_path / "choices-tiny.json").read_text())
        assert list(so_far["choices"]) == ["a program for each step"], "what is done is written"
        raise RuntimeError("no kernel\nfor this device")

    some = {name: CHOICES[name] for name in ("a program for each step", "packed rows")}
    some["attention"] = Choice(
        "none", change=partial(patch, "aiayn.model.transformer.attention", broken)
    )
    record = bench_choices("tiny", tmp_path, Console(), some)
    assert list(record["choices"]) == ["a program for each step", "attention"], "a sentence a row"
    found, failed = record["choices"].values()
    assert found["ratios"] == [
        pair["without"]["seconds_per_step"] / pair["with"]["seconds_per_step"]
        for pair in found["rounds"]
    ]
    assert [next(iter(pair)) for pair in found["rounds"]] == ["with", "without"]
    assert json.loads((tmp_path / "choices-tiny.json").read_text()) == record
    text = render_bench([record])
    ratio = f"{found['ratio']:.2f} ({min(found['ratios']):.2f}–{max(found['ratios']):.2f})"
    assert f"| a program for each step | 4 steps in one program | {ratio}, expected –, " in text
    assert "| attention | none | no kernel |" in text
    keys = set(found) | set(failed) | set(record["step"]) | set(found["rounds"][0]["with"])
    assert keys <= set(record["definitions"]), "every figure is defined"
    record["choices"].pop("a program for each step")
    assert summary_of_choices(record) == "None of them could be left out here."
