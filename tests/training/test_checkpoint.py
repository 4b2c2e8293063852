import errno
import os
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils

import aiayn.training.checkpoint
from aiayn.config import Experiment, TrainConfig
from aiayn.errors import Preempted, UserError
from aiayn.model.structure import flatten, unflatten
from aiayn.training.checkpoint import Checkpoints, set_aside_damaged
from aiayn.training.mesh import data_mesh, replicated
from aiayn.training.optim import optimizer
from aiayn.training.step import TrainState, initial_state
from tests.support.models import MODEL, NUM_WORDS, TOKENIZER

EXPERIMENT = Experiment("small", model=MODEL)
ONE_LAYER = replace(MODEL, num_layers=1)
ADAM = optimizer(ONE_LAYER, TrainConfig())


@cache
def _initial():
    return jax.device_get(initial_state(ONE_LAYER, NUM_WORDS, 1, ADAM))


def _state(step: int):
    state = jax.tree.map(jnp.asarray, _initial())
    changed = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), state)
    return replicated(changed._replace(step=jnp.int32(step)), data_mesh(jax.devices()[:1]))


def _same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def written_once(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("written")
    checkpoints = Checkpoints(run_dir / "checkpoints", keep_last=2, keep_best=1)
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.5), (4, 2.0)):
        state = _state(step)
        checkpoints.save(state, EXPERIMENT, TOKENIZER, loss)
        jax.tree.map(lambda leaf: leaf.delete(), state)  # as donation would
    checkpoints.close()
    return run_dir


@pytest.fixture
def written(written_once, tmp_path):
    """A run directory with checkpoints of steps 1 to 4; the second has the lowest dev loss."""
    return Path(shutil.copytree(written_once, tmp_path / "written"))


def test_the_last_and_the_best_are_kept_and_come_back_bit_for_bit(written):
    checkpoints = Checkpoints.open(written)
    assert checkpoints.steps() == [2, 3, 4]
    _same(checkpoints.restore(3, like=_state(0)), _state(3))
    wanted = flatten(_state(3).params)
    found = checkpoints.params(3)
    assert list(found) == list(wanted)
    _same(found, wanted)
    experiment, tokenizer = checkpoints.about(4)
    assert experiment == EXPERIMENT
    assert tokenizer.model == TOKENIZER.model


def test_nobody_but_the_loop_asks_whether_sigterm_came(tmp_path, monkeypatch):
    # JAX counts who asked about which step.
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(_state(1), EXPERIMENT, TOKENIZER)
    checkpoints.close()
    assert asked == []


def test_totals_come_back_and_older_checkpoints_have_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep_last=2)
    totals = {"seconds": 1 / 3, "src_tokens": 2**40, "crc32": 2**32 - 1, "dev": {"dev_loss": 0.1}}
    for step, written in ((1, None), (2, totals)):
        checkpoints.save(_state(step), EXPERIMENT, TOKENIZER, 1.0, written)
    checkpoints.close()
    found = Checkpoints.open(tmp_path)
    assert (found.totals(1), found.totals(2)) == (None, totals)


def test_parameters_that_are_no_numbers_are_refused_by_name(tmp_path):
    state = _state(1)
    spoilt = state.params["embedding"].at[3, 1].set(jnp.inf)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(
        state._replace(params={**state.params, "embedding": spoilt}), EXPERIMENT, TOKENIZER
    )
    checkpoints.close()
    with pytest.raises(UserError, match=r"checkpoints/1 holds values in embedding that are no num"):
        Checkpoints.open(tmp_path).params(1)


def test_a_kill_while_an_old_checkpoint_is_deleted_leaves_no_part_of_it(tmp_path, monkeypatch):
    with monkeypatch.context() as killed:  # before the first file goes
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        checkpoints = Checkpoints(tmp_path)
        for step in (1, 2):
            checkpoints.save(_state(step), EXPERIMENT, TOKENIZER)
        checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "deleted"]
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [2]
    checkpoints.save(_state(3), EXPERIMENT, TOKENIZER)
    checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_the_last_ones_are_those_without_a_gap(written):
    # Of steps 2 to 6 with a checkpoint each, 2 stays as the best and 5 and 6 as the last.
    checkpoints = Checkpoints(written / "checkpoints", keep_last=2, keep_best=1)
    for step in (5, 6):
        experiment = replace(EXPERIMENT, train=TrainConfig(checkpoint_every=1))
        checkpoints.save(_state(step), experiment, TOKENIZER, 2.0)
    checkpoints.close()
    checkpoints = Checkpoints.open(written)
    assert checkpoints.steps() == [2, 5, 6]
    assert (checkpoints.newest(), checkpoints.last(1), checkpoints.last(3)) == (6, [6], [5, 6])


def test_a_state_written_on_one_device_is_restored_on_eight(written):
    eight = replicated(_state(0), data_mesh())
    restored = Checkpoints.open(written).restore(4, like=eight)
    assert len(restored.params["embedding"].sharding.device_set) == 8
    _same(restored, _state(4))


def test_an_unfinished_checkpoint_does_not_count(written):
    # Orbax writes under a temporary name and renames at the end.
    folder = written / "checkpoints"
    (folder / "5.orbax-checkpoint-tmp-1").mkdir()
    assert Checkpoints.open(written).steps() == [2, 3, 4]


def test_a_flipped_bit_in_any_file_of_a_checkpoint_is_found_and_the_file_named(tmp_path):
    # Of few parameters: for each of its files all are read, and three times.
    params = {"embedding": jnp.full((3, 2), 0.5), "norm": {"scale": jnp.ones(2)}}
    state = TrainState(params, ADAM.init(params), jnp.int32(4))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(state, EXPERIMENT, TOKENIZER)
    checkpoints.close()
    folder = tmp_path / "checkpoints/4"
    files = [path for path in folder.glob("*/**/*") if path.is_file() and path.stat().st_size]
    assert len(files) > 8
    checkpoints = Checkpoints.open(tmp_path)
    for path in [*files, folder / "sha256.json"]:
        whole = path.read_bytes()
        for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(UserError, match=re.escape(path.name)):
                checkpoints.params(4)
            path.write_bytes(whole)
    (folder / "_CHECKPOINT_METADATA").write_bytes(b"")  # has no checksum, and no part in this
    _same(unflatten(Checkpoints.open(tmp_path).params(4)), params)


def test_being_asked_to_stop_while_a_checkpoint_is_read_is_no_damage(written, monkeypatch):
    def stopped(*_, **__):
        raise Preempted

    checkpoints = Checkpoints.open(written)
    monkeypatch.setattr(checkpoints._manager, "restore", stopped)
    monkeypatch.setattr(aiayn.training.checkpoint, "_array", stopped)
    for read in (checkpoints.params, checkpoints.about):
        with pytest.raises(Preempted):
            read(4)


@pytest.mark.parametrize("on_another_disk", [False, True])
def test_the_newest_intact_checkpoint_is_what_is_left(written, on_another_disk, monkeypatch):
    def refused(*paths):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if on_another_disk:  # as where checkpoints is a link
        monkeypatch.setattr(os, "rename", refused)
    folder, aside = written / "checkpoints", written / "damaged"
    for step in (4, 3):
        (folder / str(step) / "state/_METADATA").unlink()
    said = set_aside_damaged(folder, aside)
    assert ["state/_METADATA is missing" in line for line in said] == [True, True]
    assert Checkpoints.open(written).steps() == [2]
    assert sorted(path.name for path in aside.iterdir()) == ["3", "4"]
    assert set_aside_damaged(folder, aside) == []

    (folder / "2/sha256.json").write_text("{")
    with pytest.raises(UserError, match=r"No checkpoint in .* is intact: .*2/sha256.json cannot"):
        set_aside_damaged(folder, aside)
    assert (folder / "2").is_dir(), "nothing is moved where nothing would be left"
    assert set_aside_damaged(folder, aside, keep_one=False)
    assert not (folder / "2").exists()


def test_no_run_no_checkpoints(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoints"):
        Checkpoints.open(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no complete checkpoint"):
        Checkpoints.open(tmp_path)
