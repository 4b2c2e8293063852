import numpy as np

from aiayn.bench.worker import rows_of
from aiayn.bench.workloads import TRAINING


def test_workloads_hold_the_tokens_they_name():
    for name, tokens in {"T1": 64 * 32, "T2": 32 * 32, "base": 26_208, "big": 26_208}.items():
        workload = TRAINING[name]
        src, tgt, segments = rows_of(workload)
        assert workload.tokens == tokens == (segments > 0).sum()
        assert segments.max() == workload.sentences_per_row
        for side in (src, tgt):
            assert ((side >= 4) == (segments > 0)).all(), "words where sentences are"
            assert side.max() < workload.num_words
        lengths = np.bincount(segments[0])[1:]
        assert lengths.tolist() == [workload.length] * workload.sentences_per_row
