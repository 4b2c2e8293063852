"""`aiayn` with a promise broken, so that a harness can show that it notices.

python -m tests.faults.careless files|checkpoints train ...
"""

import sys
from pathlib import Path

from orbax.checkpoint._src.path import atomicity

import aiayn.files


def _files() -> None:
    """Files are written in place."""
    aiayn.files.write_bytes = Path.write_bytes


def _checkpoints() -> None:
    """Checkpoints have their final name from the first."""
    atomicity._get_tmp_directory = lambda final_path: final_path


if __name__ == "__main__":
    {"files": _files, "checkpoints": _checkpoints}[sys.argv.pop(1)]()
    from aiayn.__main__ import main

    sys.exit(main(sys.argv[1:]))
