"""What a start takes over from an earlier one: bytes in the cache folder of JAX's programs.

They are kept under a hash of all that they depend on, so that there is never an old one to find.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import jax

import aiayn
from aiayn.errors import UserError
from aiayn.system.files import write_bytes

_DIGEST = hashlib.sha256().digest_size
_MOST = 100
"""Files that stay when a new one is written; the least recently written ones go."""
_SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")
"""Settings of JAX that change what is traced."""


def kept(kind: str, about: str, make: Callable[[], bytes]) -> bytes:
    """The bytes that `make` gives, or gave in an earlier process.

    `about` says everything they depend on besides this program's code, the versions of JAX and
    Flax, and JAX's settings. Where JAX keeps no programs, or the folder cannot be written, they are
    made anew; so they are where the file was damaged.
    """
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if not folder:
        return make()
    path = Path(folder) / f"aiayn-{kind}-{_key(about)}"
    with suppress(OSError):
        found = path.read_bytes()
        if hashlib.sha256(found[_DIGEST:]).digest() == found[:_DIGEST]:
            return found[_DIGEST:]
    made = make()
    with suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, hashlib.sha256(made).digest() + made)
        _prune(path.parent)
    return made


def _key(about: str) -> str:
    settings = [f"{name} {getattr(jax.config, name)}" for name in _SETTINGS]
    return hashlib.sha256("\n".join([code(), *settings, about]).encode()).hexdigest()


@cache
def code() -> str:
    """A hash of this program and of the versions of what it traces with."""
    digest = hashlib.sha256()
    for name in ("jax", "jaxlib", "flax"):
        digest.update(f"{name} {version(name)}\n".encode())
    folder = Path(aiayn.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _prune(folder: Path) -> None:
    files = sorted(folder.glob("aiayn-*"), key=lambda path: path.stat().st_mtime)
    for path in files[:-_MOST]:
        path.unlink(missing_ok=True)
