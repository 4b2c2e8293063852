from contextlib import nullcontext

import pytest

from aiayn.errors import UserError
from aiayn.training.mesh import (
    refuse_slow_scatter,
)


@pytest.mark.parametrize(
    ("platform", "version", "refused"),
    [
        ("PJRT C API\ncuda 13000", "0.10.1", False),
        ("PJRT C API\ncuda 13000", "0.10.2", True),
        ("PJRT C API\ncuda 13000", "0.11.0", True),
        ("PJRT C API\ncuda 13000", "0.11.1", False),
        ("PJRT C API\ncuda 13000", "0.11.0.dev20260401", True),
        ("PJRT C API\ncuda 13000", "0.11.0rc1", True),
        ("PJRT C API\nrocm 60000", "0.11.0", False),
        ("cpu", "0.10.2", False),
    ],
)
def test_versions_whose_scatter_add_crawls_on_gpus_are_refused(
    platform, version, refused, monkeypatch
):
    wanted = f"jaxlib is {version}, .* wanted 0.11.1 or later"
    with pytest.raises(UserError, match=wanted) if refused else nullcontext():
        refuse_slow_scatter(platform, version)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_extra_options=-nvptx-allow-ftz-atomics")
    refuse_slow_scatter(platform, version)
