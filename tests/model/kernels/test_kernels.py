"""The training step with kernels for GPUs against the step without, and who uses them.

Pallas interprets them here. On a GPU the same tests compile them:
AIAYN_TEST_PLATFORM=cuda make test ARGS='-n0 tests/model/kernels'
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import aiayn.model.kernels
import aiayn.training.mesh
from aiayn.bench.scaling import devices, lowered
from aiayn.bench.worker import rows_of
from aiayn.bench.workloads import TRAINING, Training
from aiayn.config import ModelConfig, TrainConfig
from aiayn.data.rows import make_rows
from aiayn.model.flops import traced_training_flops, training_flops
from aiayn.model.kernels import attention_kernel, loss_kernel, norm_kernel, without_kernels
from aiayn.model.structure import build, initial_parameters
from aiayn.training.mesh import compiler_options, data_mesh, mapped_evaluation_step
from aiayn.training.optim import optimizer
from aiayn.training.replay import _first
from aiayn.training.step import initial_state, loss_and_gradient
from tests.support.near import assert_near


@pytest.mark.parametrize(
    "change",
    [
        {},
        pytest.param({"d_k": 24, "d_v": 24}, marks=pytest.mark.slow),
        pytest.param({"attention_dropout_rate": 0.1}, marks=pytest.mark.slow),
        pytest.param({"matmul_dtype": "bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_a_step_by_kernels_has_the_same_loss_and_gradient(monkeypatch, change):
    """Packed rows whose sides differ in width, one of them empty; where there is no kernel for the
    heads too. On two devices, where there are two; and the loss of evaluation. In bfloat16 kernels
    are as near to float32 as the model's lines are.
    """
    sizes = {"num_layers": 1, "d_model": 128, "d_ff": 64, "num_heads": 2, "d_k": 32, "d_v": 32}
    exact = ModelConfig(**{**sizes, "matmul_dtype": "float32"})
    config = replace(exact, **change)
    src, tgt, segments = rows_of(Training(config, 300, 4, width=64, length=20, steps_per_round=1))
    src, src_segments, tgt, segments = (x.copy() for x in (src, segments, tgt, segments))
    for array in (src, src_segments, tgt, segments):
        array[-1] = 0
    src, src_segments = (np.pad(x, [(0, 0), (0, 2)]) for x in (src, src_segments))
    rows = jax.tree.map(jnp.asarray, make_rows(src, src_segments, tgt, segments, bos=2))
    train = TrainConfig()
    state = initial_state(config, 300, 0, optimizer(config, train))
    mesh = data_mesh(jax.devices()[:2])

    def both_losses_and_gradient(config, by_kernels):
        monkeypatch.setattr(aiayn.model.kernels, "use_kernels", lambda: by_kernels)
        graphdef = build(config, 300)
        mapped = jax.shard_map(
            partial(loss_and_gradient, graphdef=graphdef, config=train),
            mesh=mesh,
            in_specs=(P(), P(None, "data"), P()),
            out_specs=P(),
            check_vma=False,
        )
        rounds = jax.tree.map(lambda x: x[None], rows)
        *sums, grads = jax.jit(mapped)(state, rounds, jax.random.key(0))
        for layer in jax.tree.leaves(grads, is_leaf=lambda x: isinstance(x, dict) and "key" in x):
            if isinstance(layer, dict):  # there is nothing but rounding in it
                layer["key"]["bias"] *= 0.0
        return *sums, *mapped_evaluation_step(graphdef, mesh)(state.params, rows), grads

    found, wanted = (both_losses_and_gradient(config, each) for each in (True, False))
    if config.matmul_dtype == "float32":
        assert_near(found, wanted)
        return
    true = both_losses_and_gradient(exact, False)
    for one, same, right in zip(*map(jax.tree.leaves, (found, wanted, true)), strict=True):
        error, usual = np.linalg.norm(one - right), np.linalg.norm(same - right)
        assert error <= 2.0 * usual + 1e-3 * np.linalg.norm(right)


@pytest.mark.parametrize(
    ("backend", "capability", "uses"),
    [
        ("gpu", "9.0", True),
        ("gpu", "8.0", True),
        ("gpu", "7.5", False),
        ("gpu", "gfx942", False),
        ("tpu", None, False),
        ("cpu", None, False),
    ],
)
def test_kernels_are_for_gpus_that_have_bfloat16(monkeypatch, backend, capability, uses):
    device = type("Device", (), {"compute_capability": capability} if capability else {})
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", lambda: [device()])
    assert aiayn.model.kernels.use_kernels() == uses


@pytest.fixture
def like_on_a_gpu(monkeypatch):
    device = type("Device", (), {"compute_capability": "9.0"})
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device()])
    assert aiayn.model.kernels.use_kernels()


def test_a_kernel_is_used_where_it_fits_and_is_not_left_out(like_on_a_gpu):
    usual = ModelConfig(d_k=32, d_v=32)
    assert attention_kernel(usual)
    assert norm_kernel(512)
    assert loss_kernel()
    assert attention_kernel(replace(usual, d_k=24, d_v=24)) is None
    assert attention_kernel(replace(usual, attention_dropout_rate=0.1)) is None
    assert norm_kernel(100) is None
    every = {"attention", "norm", "loss"}
    for names in ({"attention"}, {"norm"}, {"loss"}, {"norm", "loss"}, every):
        with without_kernels(*(() if names == every else names)):
            found = {"attention": attention_kernel(usual), "norm": norm_kernel(512)}
            found["loss"] = loss_kernel()
            assert {name for name, kernel in found.items() if kernel is None} == names
            assert aiayn.model.kernels.use_kernels() == (names != every)


def test_what_is_only_read_is_without_kernels(like_on_a_gpu):
    config = ModelConfig(num_layers=1, d_model=128, d_ff=64, num_heads=2, d_k=32, d_v=32)
    sizes = config, 384, 20, 20
    assert traced_training_flops(*sizes) == pytest.approx(training_flops(*sizes), rel=1e-6)
    assert "all_reduce" in lowered(TRAINING["tiny"], devices(2)).as_text()
    ids = np.array([[5, 6, 2, 0]])
    rows = jax.tree.map(jnp.asarray, make_rows(ids, np.sign(ids), ids, np.sign(ids), bos=1))
    model = nnx.merge(build(config, 384), initial_parameters(config, 384, 0))
    assert _first(model, rows, jnp.zeros((1, 2), jnp.uint32)) is None
    assert aiayn.model.kernels.use_kernels(), "as before"


def test_xla_knows_what_it_is_told_on_a_gpu(monkeypatch):
    monkeypatch.setattr(aiayn.training.mesh, "use_kernels", lambda: False)
    assert compiler_options() is None
    monkeypatch.setattr(aiayn.training.mesh, "use_kernels", lambda: True)
    options = compiler_options()
    assert options
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2
    with pytest.raises(Exception, match="xla_gpu_unheard_of"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_unheard_of": 1})(1)
