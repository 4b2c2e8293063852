"""Stands for another toolkit: python -m tests.support.toolkit train|translate FOLDER

It learns nothing, says after each of three epochs what dev's first sentences should be, and ends in
the midst of the second where the folder holds a file named `stop`, which it deletes.
"""

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
    course, done = Course(folder), folder / "done"
    course.introduce({"torch": "1.2.3"}, 77)
    begin = int(done.read_text()) if done.is_file() else 0
    total = recipe.experiment.train.num_steps
    for updates in range(begin + total // 3, total + 1, total // 3):
        if updates > total // 3 and (folder / "stop").is_file():
            (folder / "stop").unlink()
            print("out of luck", file=sys.stderr)
            return 3
        outputs = read_pieces(text_path(folder, "first", "tgt"))
        course.start()
        course.stop()
        course.tell(
            updates,
            3 * updates / total,
            6.0 / updates,
            outputs if updates == total else outputs[::-1],
        )
        done.write_text(str(updates))
    assert text_path(folder, "train", "src").is_file()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
