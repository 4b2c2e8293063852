"""The figures of a run's test sets as they come, so that a killed end goes on where it was."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from aiayn.data.prepare import Prepared
from aiayn.errors import UserError
from aiayn.evaluation.scores import Scores
from aiayn.model.saved import Model
from aiayn.model.structure import params_sha256
from aiayn.system import hosts, records
from aiayn.system.environment import environment
from aiayn.system.kept import code

FILE = "scored.json"


class _Kept(msgspec.Struct):
    of: str
    """A hash of all that the figures depend on."""
    results: dict[str, dict[str, Scores]]


class ScoresSoFar:
    """The figures of each test set by each model of a run, kept in a file until all are there.

    Figures of other weights, settings or text, or by other code, are not taken up again.
    """

    def __init__(
        self,
        run_dir: Path,
        prepared: Prepared,
        models: Mapping[str, Model],
        test_sets: Mapping[str, str],
    ):
        self._path = run_dir / FILE
        about = {
            "experiments": [model.experiment.to_dict() for model in models.values()],
            "params": [params_sha256(model.params) for model in models.values()],
            "text": [(name, prepared.test_text(split)) for name, split in test_sets.items()],
            "environment": environment(),
            "code": code(),  # of a checkout that was changed, the commit does not say it
        }
        of = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self._kept = _Kept(of, {name: {} for name in test_sets})
        if hosts.first() and self._path.is_file():
            with suppress(UserError):  # another version's; nothing is lost but time
                found = records.read(self._path, _Kept, "the figures of a run so far")
                self._kept = found if found.of == of else self._kept
            if not any(self.results.values()):  # what they are of is about to be written over
                self._path.unlink()
        pairs = [[name, label] for name, labels in self.results.items() for label in labels]
        self._done = {(name, label) for name, label in hosts.told(pairs)}

    @property
    def results(self) -> dict[str, dict[str, Scores]]:
        """By test set, then by the label of a model; in the first process alone."""
        return self._kept.results

    def has(self, name: str, label: str) -> bool:
        """Whether an earlier session scored this; the same in every process."""
        return (name, label) in self._done

    def add(self, name: str, label: str, scores: Scores) -> None:
        """Keep figures; what they were taken of has been written before."""
        self.results[name][label] = scores
        records.write(self._path, self._kept)

    def end(self) -> None:
        """The record holds them now."""
        self._path.unlink(missing_ok=True)
