import jax
import pytest

from aiayn.bench import ours
from aiayn.training.mesh import data_mesh


@pytest.fixture(autouse=True)
def timed_on_one_device(monkeypatch):
    """As users have. What is timed in this process is compiled anew, but not what follows."""
    monkeypatch.setattr(ours, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    yield
    jax.config.update("jax_enable_compilation_cache", True)
