import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

import aiayn
from aiayn.system import environment
from aiayn.system.environment import hardware, peak_flops, versions


def test_the_environment_says_what_code_runs_on_what():
    found = environment.environment()
    assert json.loads(json.dumps(found)) == found
    assert found["commit"] == environment.commit()
    assert found["versions"]["aiayn"] == aiayn.__version__
    assert found["versions"]["jax"] == jax.__version__
    assert found["hardware"]["num_devices"] == jax.device_count()
    assert found["hardware"]["platform"] == jax.default_backend()
    assert found["hardware"]["num_processes"] == 1


def test_a_package_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGES", ("jax", "no-such-package-here"))
    assert versions()["no-such-package-here"] == "not installed"
    assert versions()["jax"] == version("jax")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: EPYC\n", "EPYC (family 25, model 1)"),
        ("model name\t: EPYC\n", "x86_64"),
        ("", "x86_64"),
    ],
)
def test_a_processor_is_named_with_family_and_model(text, name, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert hardware()["cpu"] == name


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 2 * 989e12),
        ("NVIDIA H100 PCIe", None),  # which is slower
        ("TPU v4", 2 * 275e12),
        ("cpu", None),
    ],
)
def test_the_peak_of_all_devices_is_by_their_kind(kind, peak, monkeypatch):
    class Device:
        device_kind = kind

    monkeypatch.setattr(jax, "devices", lambda: [Device(), Device()])
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert peak_flops() == peak


@pytest.mark.parametrize("name", environment.OURS)
def test_a_variable_meant_for_other_programs_changes_nothing(name, monkeypatch):
    changed = []
    monkeypatch.setattr(jax.config, "update", lambda key, value: changed.append((key, value)))
    environment.configure_jax()
    assert name not in dict(changed), "whoever calls this program may have set it"
    monkeypatch.setenv(name.upper(), "1")
    environment.configure_jax()
    assert (name, environment.OURS[name]) in changed


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", ["own", "", "relative", "missing", "nobody's"])
@pytest.mark.parametrize("given", ["", "relative", "absolute"])
def test_the_cache_is_where_it_can_be_written(home, given, tmp_path, monkeypatch):
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg") if given == "absolute" else given)
    (tmp_path / "file").touch()
    homes = {"own": str(tmp_path / "home"), "missing": str(tmp_path / "file" / "x")}
    monkeypatch.setenv("HOME", homes.get(home, home))
    if home == "nobody's":
        monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.chdir(tmp_path)
    folder = environment.cache_folder()
    assert folder.is_dir()
    wanted = tmp_path / f"aiayn-{os.getuid()}"
    if home == "own":
        wanted = tmp_path / "home" / ".cache" / "aiayn"
    if given == "absolute":
        wanted = tmp_path / "xdg" / "aiayn"
    assert folder == wanted
    assert not (tmp_path / "relative").exists()


@pytest.mark.parametrize("planted", ["open to all", "a link", "a file", "another user's"])
def test_a_cache_that_others_could_write_is_not_used(planted, tmp_path, monkeypatch):
    # Programs that are found there are run.
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(environment.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    place = tmp_path / f"aiayn-{os.getuid()}"
    if planted == "open to all":
        place.mkdir()
        place.chmod(0o777)
    elif planted == "another user's":
        monkeypatch.setattr(os, "getuid", lambda: 4_321)
        place = tmp_path / "aiayn-4321"
        place.mkdir(mode=0o700)
    elif planted == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.touch()
    folder = environment.cache_folder()
    assert folder.parent == tmp_path
    assert folder != place
    assert folder.stat().st_mode & 0o77 == 0


CODE = """
import json, logging, sys
from aiayn.system.environment import configure_jax
configure_jax()
import jax
print(json.dumps([
    jax.config.jax_compilation_cache_dir,
    jax.config.jax_persistent_cache_min_compile_time_secs,
    logging.getLogger("absl").isEnabledFor(logging.ERROR),
    logging.getLogger().isEnabledFor(logging.ERROR),
]))
"""


def configured(**given):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=kept | given, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_compiled_programs_are_kept_in_the_users_cache(tmp_path):
    folder, seconds, absl, others = configured(XDG_CACHE_HOME=str(tmp_path))
    assert folder == str(tmp_path / "aiayn" / "jax")
    assert seconds == 0.1
    assert not absl
    assert others


def test_what_the_user_has_set_for_jax_is_kept(tmp_path):
    folder, seconds, *_ = configured(
        JAX_COMPILATION_CACHE_DIR=str(tmp_path),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="3",
    )
    assert folder == str(tmp_path)
    assert seconds == 3
