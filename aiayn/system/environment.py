"""The record of a run: what ran, on what, and what came out."""

import logging
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

import aiayn
from aiayn.system.checkout import commit

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "sentencepiece", "sacrebleu")

PEAK_FLOPS = {
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100": 312e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
}
"""Dense bfloat16 FLOP/s of one device, from the makers' data sheets."""


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
    kind = jax.devices()[0].device_kind
    known = next((peak for name, peak in PEAK_FLOPS.items() if kind.startswith(name)), None)
    return known and known * jax.device_count()


def configure_jax() -> None:
    """Keep compiled programs between processes, in the user's cache folder; no idle warnings.

    Orbax warns through absl of what we ask for on purpose, and asyncio repeats each error of a
    write in the background that has already been raised.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "aiayn" / "jax"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # JAX keeps what took a second; a start has a dozen programs that take a tenth and more.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
