import jax
import numpy as np
import pytest

from aiayn.data.prepare import prepare
from aiayn.data.updates import Layout
from aiayn.training.feed import Feed
from aiayn.training.mesh import data_mesh
from tests.support.runs import straight_experiment


@pytest.fixture
def feed_for(corpus, data_dir):
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    return lambda devices: Feed.of(experiment, prepared, data_mesh(devices))


def test_devices_hold_equal_shares_of_the_rows_of_an_update(feed_for):
    for count in (1, 4):
        feed = feed_for(jax.devices()[:count])
        for found, wanted in zip(feed.rows(3), feed.all_rows(3), strict=True):
            np.testing.assert_array_equal(found, wanted)
            shares = [shard.data.shape for shard in found.addressable_shards]
            num_rounds, per_round, width = wanted.shape
            assert shares == [(num_rounds, per_round // count, width)] * count


def test_rows_read_ahead_are_those_of_their_updates(feed_for):
    feed = feed_for(jax.devices()[:2])
    read = list(feed.ahead(2, 5))
    assert len(read) == 3
    for step, rows in enumerate(read, 2):
        for found, wanted in zip(rows, feed.all_rows(step), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_another_seed_brings_the_rows_in_another_order(corpus, data_dir):
    first, again, other = (
        Feed.of(experiment, prepare(experiment.data, data_dir, progress=False), data_mesh())
        for experiment in (straight_experiment(corpus, seed=seed) for seed in (1, 1, 2))
    )
    same, others = (
        [(a == b).all() for a, b in zip(first.all_rows(0), feed.all_rows(0), strict=True)]
        for feed in (again, other)
    )
    assert all(same)
    assert not all(others)


def test_each_update_has_the_layout_of_its_own_class_of_rows(feed_for):
    class TwoClasses:
        def choose(self, step):
            return step % 2, np.arange(1)

        def layout(self, chosen, num_devices, slots):
            return Layout(1 + chosen, num_devices)

    feed = feed_for(jax.devices()[:2])._replace(updates=TwoClasses())
    assert [feed.layout(step) for step in range(3)] == [Layout(1, 2), Layout(2, 2), Layout(1, 2)]
