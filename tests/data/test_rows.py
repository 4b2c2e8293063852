import subprocess
import sys

import numpy as np

from aiayn.data.rows import make_rows, rows_of_pairs, rows_of_texts


def test_targets_shift_by_one_within_each_sentence():
    # Two sentences, 5 6 EOS and 7 EOS, and one empty slot.
    tgt = np.array([[5, 6, 3, 7, 3, 0]])
    segments = np.array([[1, 1, 1, 2, 2, 0]])
    rows = make_rows(tgt, segments, tgt, segments, bos=2)
    np.testing.assert_array_equal(rows.tgt_in_BT, [[2, 5, 6, 2, 7, 0]])
    np.testing.assert_array_equal(rows.tgt_out_BT, tgt)
    np.testing.assert_array_equal(rows.tgt_positions_BT, [[0, 1, 2, 0, 1, 0]])
    np.testing.assert_array_equal(rows.weight_BT, [[1, 1, 1, 1, 1, 0]])


def test_a_row_of_one_pair_by_hand():
    rows = rows_of_pairs([([5, 6], [7]), ([8], [])], bos=2, eos=3)
    assert rows.src_BS.tolist() == [[5, 6, 3], [8, 3, 0]]
    assert rows.tgt_in_BT.tolist() == [[2, 7, 0], [2, 0, 0]]
    assert rows.tgt_out_BT.tolist() == [[7, 3, 0], [3, 0, 0]]
    assert rows.src_segments_BS.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert rows.tgt_segments_BT.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert rows_of_pairs([([5], [7])], 2, 3, width=9).src_BS.shape == (1, 9)


def test_a_row_of_one_text_is_that_of_a_pair_without_its_source():
    texts = [[7, 8, 9], [6]]
    rows = rows_of_texts(texts, bos=2, eos=3, width=5)
    assert [field.shape for field in rows[:3]] == [(2, 0)] * 3
    pairs = rows_of_pairs([([], text) for text in texts], bos=2, eos=3, width=5)
    for field, wanted in zip(rows[3:], pairs[3:], strict=True):
        np.testing.assert_array_equal(field, wanted)
    assert rows_of_texts(texts, 2, 3).tgt_in_BT.tolist() == [[2, 7, 8, 9], [2, 6, 0, 0]]


def test_a_model_imports_rows_without_what_makes_them():
    # flax itself imports rich.
    others = {"sentencepiece", "lxml", "defusedxml", "concurrent.futures.process", "sacrebleu"}
    code = (
        "import sys, aiayn.model.transformer; "
        "print([n for n in sys.modules if n.startswith('aiayn.data.')], "
        f"sys.modules.keys() & {others})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['aiayn.data.rows'] set()\n"
