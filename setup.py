"""What pyproject.toml cannot say of wheels and source archives.

A wheel holds, within the package, a copy of the experiments, of the models that come along and of
the records that `aiayn report` reads, and the commit it was built from. A source archive holds the
same beside the package.
"""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from aiayn.system.checkout import COMMIT, COPY, commit  # noqa: E402

STUDIES = ("ablations", "parsed_text", "pretraining")
SHIPPED = (
    "experiments/*.py",
    "experiments/accelerator/*.py",
    "experiments/models/*/*",
    "experiments/table3/*.py",
    "experiments/results/*.json",
    *(f"experiments/results/{folder}/*.json" for folder in STUDIES),
)


def shipped() -> list[str]:
    """The files that a wheel needs, by their paths in the checkout."""
    paths = (path for pattern in SHIPPED for path in ROOT.glob(pattern))
    return sorted(str(path.relative_to(ROOT)) for path in paths)


class BuildPackage(build_py):
    """The package, with the copy."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        # An earlier build may have left modules there that are gone since.
        shutil.rmtree(Path(self.build_lib), ignore_errors=True)
        super().run()
        copy = Path(self.build_lib, "aiayn", COPY)
        for name in shipped():
            self.mkpath(str((copy / name).parent))
            self.copy_file(name, str(copy / name))
        (copy / COMMIT).write_text(f"{commit()}\n", encoding="utf-8")

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *shipped()]


class SourceArchive(sdist):
    """The sources, with the commit, since git is not there to ask."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        Path(base_dir, COMMIT).write_text(f"{commit()}\n", encoding="utf-8")


setup(cmdclass={"build_py": BuildPackage, "sdist": SourceArchive})
