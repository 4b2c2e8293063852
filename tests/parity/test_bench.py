"""The peers of the benchmark do our work: as many parameters, a loss like ours."""

import json
import subprocess
import sys

import pytest

from aiayn.model import count_parameters
from aiayn.workloads import PEERS, WORKLOADS

TINY = WORKLOADS["tiny"]


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_trains_a_model_of_our_size_on_the_same_rows(peer):
    command = [sys.executable, "-m", "aiayn.bench_peers", "tiny", peer]
    done = subprocess.run(command, input="1\n1\n", capture_output=True, text=True, check=True)
    about, first, second = map(json.loads, done.stdout.splitlines())
    padding = -TINY.num_words % 128 * TINY.model.d_model  # our embedding has rows more
    # torch.nn.Transformer has a norm behind either stack.
    norms = 4 * TINY.model.d_model if peer == "torch" else 0
    ours = count_parameters(TINY.model, TINY.num_words) - padding
    assert about["parameters"] == ours + norms
    assert first["loss"] != second["loss"]
    assert max(first["loss"], second["loss"]) < 7.0  # ln 300 is 5.7
