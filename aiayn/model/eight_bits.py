"""Matrices in a byte a number, for models that are passed on.

Each column of a kernel, and each row of the embedding, has a scale of its own: its largest number
becomes 127 or -127. Vectors stay as they are. A number is then at most half a scale away.
"""

from collections.abc import Mapping

import numpy as np

_SCALE = ".scale_of_bytes"
"""Follows the name of a tensor of bytes in the name of its scales, which broadcast against it."""

Tensors = Mapping[str, np.ndarray]


def in_bytes(params: Tensors) -> dict[str, np.ndarray]:
    """Parameters by name with their matrices as bytes and scales."""
    found: dict[str, np.ndarray] = {}
    for name, value in params.items():
        if value.ndim < 2:
            found[name] = value
            continue
        axis = 1 if name == "embedding" else 0  # over what a product or a word adds up
        most = np.abs(value).max(axis, keepdims=True).astype(np.float32)
        scale = np.where(most > 0, most, 1) / np.float32(127)
        found[name] = np.rint(value / scale).astype(np.int8)
        found[name + _SCALE] = scale
    return found


def from_bytes(tensors: Tensors) -> dict[str, np.ndarray]:
    """The parameters again, in float32; tensors without a scale stay as they are."""
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in tensors:
            continue
        scale = tensors.get(name + _SCALE)
        if scale is None or value.dtype != np.int8 or scale.shape not in _shapes(value):
            found[name] = value  # what it is, if anything, is for others to judge
        else:
            found[name] = value.astype(np.float32) * scale
    return found


def _shapes(value: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """What its scales may look like."""
    rows, columns = value.shape if value.ndim == 2 else (0, 0)
    return (rows, 1), (1, columns)
