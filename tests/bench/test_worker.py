import numpy as np

from aiayn.bench.worker import prompts_of, rows_of
from aiayn.bench.workloads import GENERATION, PROMPTS, TRAINING


def test_workloads_hold_the_tokens_they_name():
    for name, tokens in {
        "T1": 64 * 32,
        "L1": 16 * 128,
        "T2": 32 * 32,
        "base": 26_208,
        "big": 26_208,
    }.items():
        workload = TRAINING[name]
        src, tgt, segments = rows_of(workload)
        assert workload.tokens == tokens == (segments > 0).sum()
        assert segments.max() == workload.sentences_per_row
        for side in (src, tgt):
            assert ((side >= 4) == (segments > 0)).all(), "words where sentences are"
            assert side.max() < workload.num_words
        lengths = np.bincount(segments[0])[1:]
        assert lengths.tolist() == [workload.length] * workload.sentences_per_row


def test_prompts_hold_words_alone_and_leave_room_for_what_follows():
    for workload in (*GENERATION.values(), *PROMPTS.values()):
        ids = prompts_of(workload)
        assert ids.shape == (workload.num_texts, workload.prompt_length)
        assert 4 <= ids.min() <= ids.max() < workload.num_words
        assert workload.prompt_length + workload.output_length < workload.model.max_positions
    assert (GENERATION["G1"].num_texts, GENERATION["G1"].output_length) == (16, 128)
    assert PROMPTS["P1"].prompt_length == 256
