"""How near a kernel's results are to the model's own."""

from typing import Any

import jax
import numpy as np

NEAR = 5e-3 if jax.default_backend() == "gpu" else 2e-5
"""Of the norm. A GPU multiplies float32 in TF32."""


def assert_near(found: Any, wanted: Any, near: float = NEAR) -> None:
    """Every array has the shape and type wanted, and its values to within a share of the norm."""
    for one, same in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (same.shape, same.dtype)
        one, same = (np.asarray(x, np.float64) for x in (one, same))
        assert np.linalg.norm(one - same) <= near * np.linalg.norm(same) + 1e-6
