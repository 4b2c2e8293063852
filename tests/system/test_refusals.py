import jax
import pytest

from aiayn.system.refusals import refused


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError("invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"),
            "The variable JAX_ENABLE_X64 is 'maybe'; wanted true or false.",
        ),
        (
            ValueError('Invalid value "zzz" for JAX flag jax_numpy_dtype_promotion'),
            "The variable JAX_NUMPY_DTYPE_PROMOTION is 'zzz'",
        ),
        (RuntimeError("Unable to initialize backend 'foo': no\nmore"), "JAX_PLATFORMS is 'foo'"),
        (MemoryError(), "The memory is used up"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte"), "slots_per_device"),
        (ImportError("libx.so: failed to map segment from shared object"), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, said, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "foo")
    assert said in refused(error)
    assert "\n" not in refused(error)


def test_what_jax_asserts_of_its_devices_is_said_and_no_other_assertion(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "foo")
    assert not refused(AssertionError()), "JAX has its device"

    def without():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", without)
    assert "JAX finds no such device here" in refused(AssertionError())


@pytest.mark.parametrize("error", [ValueError("1 is not 2"), AssertionError("no"), RuntimeError()])
def test_a_defect_of_ours_is_none_of_these(error, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "foo")
    assert not refused(error)


def test_without_a_variable_an_assertion_is_ours(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert not refused(AssertionError())
