"""Stands for another toolkit: python -m tests.support.toolkit train|translate FOLDER

It learns nothing, says after each of three epochs what dev's first sentences should be, and fails
before it saves that epoch where a file named `stop` in the folder, which it deletes, says so.
"""

import os
import sys
from pathlib import Path

from aiayn.bench.recipe import (
    WEIGHTS,
    Course,
    Recipe,
    output_path,
    read_pieces,
    text_path,
    write_pieces,
)


def main(what: str, folder: Path) -> int:
    recipe = Recipe.read(folder)
    if what == "translate":
        for weights in WEIGHTS:
            for name in recipe.tests:
                pieces = read_pieces(text_path(folder, f"test.{name}", "tgt"))
                kept = pieces if weights == "averaged" else [each[1:] for each in pieces]
                write_pieces(output_path(folder, weights, name), kept)
        return 0
    course, done, stop = Course(folder), folder / "done", folder / "stop"
    course.introduce({"torch": os.environ["GLIBC_TUNABLES"]}, 77)
    begin = int(done.read_text()) if done.is_file() else 0
    total = recipe.experiment.train.num_steps
    for updates in range(begin + total // 3, total + 1, total // 3):
        outputs = read_pieces(text_path(folder, "first", "tgt"))
        course.start()
        course.stop()
        course.tell(
            updates,
            3 * updates / total,
            6.0 / updates,
            outputs if updates == total else outputs[::-1],
        )
        if stop.is_file() and stop.read_text() == str(updates):
            stop.unlink()
            print("out of luck", file=sys.stderr)
            return 3
        done.write_text(str(updates))
    assert text_path(folder, "train", "src").is_file()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
