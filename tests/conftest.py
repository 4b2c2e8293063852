"""JAX as the tests want it: eight devices on the CPU, and no silent rank promotion."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["JAX_PLATFORMS"] = os.environ.get("AIAYN_TEST_PLATFORM", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        # Compiling takes most of the tests' time, running next to none of it.
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)
os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the tests' time goes into compiling the same small models anew.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# These need an environment of their own: make parity.
collect_ignore = [] if importlib.util.find_spec("torch") else ["parity"]


_DEAR = (
    "test_hosts",
    "test_loop",
    "test_bench",
    "test_ablation",
    "test_kill",
    "test_bounds",
    "test_signals",
    "test_run_folder",
    "test_replay",
    "test_storage",
    "test_determinism",
    "test_workers",
)
"""Files that take longest: first, so that at the end no worker is busy with one alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(_DEAR)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(_DEAR)))


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """For model, loss and decoding: arrays of two types never meet without a word about it."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `small.reverse_experiment` learns from."""
    from tests.support.models import copy_corpus

    folder = tmp_path_factory.mktemp("corpus")
    copy_corpus(folder, 2_000)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of a module prepare their data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 pairs of train, 3 of dev, 2 of test, all different."""
    from tests.support.corpora import pair, write_pairs

    folder = tmp_path / "source"
    write_pairs(folder, "train", [pair(i) for i in range(20)])
    write_pairs(folder, "dev", [pair(i) for i in range(100, 103)])
    write_pairs(folder, "test", [pair(i) for i in range(200, 202)])
    return folder


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight are slow to compile for; that one and eight train alike is tested with the step."""
    import aiayn.training.loop
    from aiayn.training.mesh import data_mesh

    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:2]))
