"""Flags that XLA does not know are one line, and no abort."""

import subprocess

import jax
import pytest

import aiayn.system.flags
from aiayn.errors import UserError
from aiayn.system.flags import check_flags
from tests.commands.test_verb import refusal


@pytest.fixture(autouse=True)
def started(tmp_path, monkeypatch):
    """How often another process was asked."""
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "programs"))
    count, run = [], subprocess.run

    def counted(*arguments, **options):
        count.append(arguments)
        return run(*arguments, **options)

    monkeypatch.setattr(aiayn.system.flags.subprocess, "run", counted)
    yield count
    jax.config.update("jax_compilation_cache_dir", before)


def test_without_flags_and_with_known_ones_nothing_is_said(started, monkeypatch):
    for flags, processes in (("", 0), (" ", 0), (" --xla_backend_optimization_level=0", 1)):
        monkeypatch.setenv("XLA_FLAGS", flags)
        check_flags()
        check_flags()
        assert len(started) == processes, "flags that were tried once are known"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--xla_backend_optimization_level=0 --xla_no_such=1", "--xla_no_such=1. Mend it"),
        ("--xla_backend_optimization_level=x", "value x for flag xla_backend_optimization_level."),
        ("no_such_file", '"no_such_file"'),
    ],
)
def test_flags_that_would_end_the_process_are_refused_by_name(flags, said, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", flags)
    with pytest.raises(UserError, match="does not take the variable XLA_FLAGS") as refused:
        check_flags()
    assert said in str(refused.value)
    assert str(refused.value) in refusal(capsys, "info", ".")
