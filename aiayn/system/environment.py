"""The record of a run: what ran, on what, and what came out."""

import logging
import os
import platform
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

import aiayn
from aiayn.system.checkout import commit
from aiayn.system.flags import check_flags

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "sentencepiece", "sacrebleu")

PEAK_FLOPS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}
"""Dense bfloat16 FLOP/s of one device, from the makers' data sheets, by the whole name that JAX has
for it: a card of the same family may have less. A v5p is `TPU v5`."""


def versions() -> dict[str, str]:
    """This program, Python and the packages that decide what is computed."""
    found = {"aiayn": aiayn.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """The devices JAX computes on, and the host's processor."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "num_processes": jax.process_count(),
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
    }


def environment() -> dict[str, Any]:
    """The code that runs, and what it runs on."""
    return {"commit": commit(), "versions": versions(), "hardware": hardware()}


def peak_flops() -> float | None:
    """FLOP/s of all devices together by the data sheet; None where we know none."""
    known = PEAK_FLOPS.get(jax.devices()[0].device_kind)
    return known and known * jax.device_count()


OURS: Mapping[str, Any] = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_disable_jit": False,
    "jax_transfer_guard": "allow",
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
}
"""Settings of JAX that this program is written for. Where a variable of the environment changes
one, as it may for other programs, it is changed back: a seed means the same numbers everywhere."""


def configure_jax() -> None:
    """JAX's settings as this program needs them, and no idle warnings.

    Raises UserError if XLA_FLAGS holds what XLA does not take.

    Compiled programs are kept between processes, in the user's cache folder. Orbax warns through
    absl of what we ask for on purpose, and asyncio repeats each error of a write in the background
    that has already been raised.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for name, value in OURS.items():
        if name.upper() in os.environ:
            jax.config.update(name, value)
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # JAX keeps what took a second; a start has a dozen programs that take a tenth and more.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    check_flags()


def cache_folder() -> Path:
    """The user's folder for what can be made again: `aiayn` in XDG_CACHE_HOME, else in ~/.cache.

    Where neither can be written, as for the users of many containers, one of this user alone under
    the temporary folder: programs from it are run, so nobody else may have put any there.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(OSError, RuntimeError):  # RuntimeError: a user of no name has no home
        # Other values than absolute paths are to be ignored, by XDG's own rule.
        base = Path(given) if given.startswith("/") else Path.home() / ".cache"
        is_home = os.environ.get("HOME") != ""  # Python takes an empty one for the root folder
        if base.is_absolute() and (is_home or given.startswith("/")):
            folder = base / "aiayn"
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    folder = Path(tempfile.gettempdir()) / f"aiayn-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if about.st_uid == os.getuid() and stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o77:
            return folder
    return Path(tempfile.mkdtemp(prefix="aiayn-"))


def _cpu_name() -> str:
    """With its family and model: a virtual machine may keep the rest of the name to itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in text.splitlines())
    }
    if not {"model name", "cpu family", "model"} <= found.keys():
        return platform.processor() or platform.machine()
    return f"{found['model name']} (family {found['cpu family']}, model {found['model']})"
