"""JAX as the tests want it: eight devices on the CPU, and no silent rank promotion."""

import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.compiling import QUICKLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

os.environ["JAX_PLATFORMS"] = os.environ.get("AIAYN_TEST_PLATFORM", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", QUICKLY]
)
os.environ["HF_HUB_OFFLINE"] = "1"
# Many images set it, but then every process that a test starts compiles all its Python anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import hypothesis
import jax
import pytest

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the tests' time goes into compiling the same small models anew.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
# Tracing makes objects by the million, and nearly all in memory stay until the end: to look through
# them for cycles after every 700 new ones takes a tenth of the time.
gc.set_threshold(50_000, 10, 10)


# These need an environment of their own: make parity.
collect_ignore = [] if importlib.util.find_spec("torch") else ["parity"]


def pytest_collection_finish() -> None:
    """What is there before the first test stays, so that nobody looks through it again."""
    gc.freeze()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes name no test: packed ones hold the time, and so would the names of each worker."""
    return "bytes" if isinstance(val, bytes) else None


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """For model, loss and decoding: arrays of two types never meet without a word about it."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this session see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def corpus(shared: Path) -> Path:
    """A folder with what `reverse_experiment` learns from."""
    from tests.support.corpora import copy_corpus
    from tests.support.runs import made_once

    return made_once(shared / "corpus", lambda folder: copy_corpus(folder, 2_000))


@pytest.fixture(scope="session")
def data_dir(shared: Path) -> Path:
    """Where tests prepare their data, once for the same settings."""
    (shared / "data").mkdir(exist_ok=True)
    return shared / "data"


@pytest.fixture(scope="session")
def straight(shared: Path, corpus: Path, data_dir: Path) -> Path:
    """A run of `straight_experiment` that nothing stopped; tests change copies of it alone."""
    from tests.support.runs import (
        made_once,
        straight_experiment,
        train_here,
        train_on_one_device,
    )

    def make(run_dir: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            train_on_one_device(patch)
            train_here(straight_experiment(corpus), run_dir, data_dir)

    return made_once(shared / "straight", make)


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
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """More take longer to compile for; that they train alike is tested with the step."""
    from tests.support.runs import train_on_one_device

    train_on_one_device(monkeypatch)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The decode settings of each translation of a test set; instead of it, sources come back."""
    import aiayn.evaluation.evaluate

    settings: list[Any] = []

    def translate_file(model: Any, sources: Any, *_: Any) -> list[str]:
        settings.append(model.experiment.decode)
        return list(sources)

    monkeypatch.setattr(aiayn.evaluation.evaluate, "translate_file", translate_file)
    monkeypatch.setattr(aiayn.evaluation.evaluate, "_pictures", lambda *_: None)
    return settings


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> "list[Figure]":
    """Each picture as it was saved."""
    from matplotlib.figure import Figure

    saved: list[Figure] = []
    original = Figure.savefig

    def savefig(figure: Figure, *args: Any, **kwargs: Any) -> None:
        saved.append(figure)
        original(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved
