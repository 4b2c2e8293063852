"""The rows of each update, cut for the devices and read ahead (§5.1, §5.2)."""

from collections.abc import Iterator
from typing import NamedTuple

from jax.sharding import Mesh

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared
from aiayn.data.rows import Rows
from aiayn.data.updates import Layout, Updates, read_ahead
from aiayn.system import hosts
from aiayn.training.mesh import sharded


class Feed(NamedTuple):
    """Rows for a mesh of devices; they follow from the seed and the step alone."""

    updates: Updates
    mesh: Mesh
    slots_per_device: int

    @classmethod
    def of(cls, experiment: Experiment, prepared: Prepared, mesh: Mesh) -> "Feed":
        """The feed of a run."""
        data, config = experiment.data, experiment.train
        bos = prepared.tokenizer.bos
        updates = Updates(prepared.train, config.seed, data.tokens_per_update, bos)
        return cls(updates, mesh, config.slots_per_device)

    def layout(self, step: int) -> Layout:
        """How the rows of update `step` (counted from 0) lie on the devices."""
        chosen, _ = self.updates.choose(step)
        return self.updates.layout(chosen, self.mesh.size, self.slots_per_device)

    def all_rows(self, step: int) -> Rows:
        """The rows of update `step` for all devices of all processes, on this host."""
        return self.updates.rows(step, self.layout(step))

    def rows(self, step: int) -> Rows:
        """The rows of update `step` on the devices, of which each process reads its own share."""
        layout = self.layout(step)
        mine = hosts.share(layout.rows_per_round)
        return sharded(self.updates.rows(step, layout, mine), self.mesh, axis=1)

    def ahead(self, first: int, last: int) -> Iterator[Rows]:
        """`rows(first)`, ..., `rows(last - 1)`, each begun before it is asked for."""
        return read_ahead(self.rows, first, last)
