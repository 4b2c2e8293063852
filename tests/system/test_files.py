import errno
import os
from pathlib import Path

import pytest

from aiayn.errors import UserError
from aiayn.system.files import user_os_errors, write_text


def test_text_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new\n")
    assert path.read_text(encoding="utf-8") == "new\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here/file"),
            "here/file: the disk is full",
        ),
        (PermissionError(errno.EACCES, "no"), "there: permission is denied"),
        (ValueError('RESOURCE_EXHAUSTED: Error writing "params/0"'), "there: the disk is full"),
    ],
)
def test_a_disk_that_refuses_is_said_plainly(error, reason):
    with pytest.raises(UserError, match=reason), user_os_errors(Path("there")):
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "x"), ValueError("1 is not 2")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)), user_os_errors(Path("there")):
        raise error
