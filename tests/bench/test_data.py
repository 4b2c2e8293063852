"""Benchmarks measure what they say; the figures themselves are nobody's to assert."""

import json
import math
import subprocess
import sys
from collections import Counter

import pytest

from aiayn.__main__ import main
from aiayn.bench.data import _Chunk, _growth, _samples, _word, synthetic_pairs


def test_synthetic_text_is_the_same_every_time_and_has_the_lengths_of_news():
    src, tgt = synthetic_pairs(_Chunk(0, 2_000))
    assert (src, tgt) == synthetic_pairs(_Chunk(0, 2_000))
    assert src != synthetic_pairs(_Chunk(2_000, 2_000))[0]
    for side in (src, tgt):
        lengths = [len(line.split()) for line in side.splitlines()]
        assert len(lengths) == 2_000
        assert 20 < sum(lengths) / 2_000 < 24
        assert max(lengths) > 90
        # By Zipf's law words 1 to r are ln(r + 1) in ln(1,000,000): the first is one in 20.
        words = Counter(side.lower().replace(".", "").split())
        share = words.most_common(1)[0][1] / words.total()
        assert share == pytest.approx(math.log(2) / math.log(1_000_000), rel=0.1)


def test_every_rank_has_a_word_of_its_own():
    for language in (0, 1):
        assert len({_word(rank, language) for rank in range(1, 50_000)}) == 49_999


def test_memory_of_a_process_counts_its_children_and_tells_files_apart(tmp_path):
    size = 50_000_000
    (tmp_path / "file").write_bytes(bytes(size))
    hold = (
        f"import mmap; x = bytearray({size}); x[::4096] = b'1' * len(x[::4096]); "
        f"f = open({str(tmp_path / 'file')!r}, 'rb'); "
        "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sum(m[::4096]); input()"
    )
    parent = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {hold!r}], stdin=sys.stdin); "
        f"{hold}; child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin
        rss, own = next(held for _, held in _samples(process) if held.peak_rss_bytes > 4 * size)
        assert 2 * size < own < rss - 2 * size < 3 * size, "the file is in both, and nobody's own"
        process.stdin.write(b"\n\n")
        process.stdin.close()


def test_exponents_are_of_three_sizes_and_of_what_was_measured():
    runs = [
        {
            "pairs": pairs,
            "stages": {"text": 1e-3 * pairs, "rows": 5.0},
            "peak_own_bytes": {"text": 7 * pairs**0.5, "rows": 0},
        }
        for pairs in (10, 1_000, 4_000, 20_000)
    ]
    runs[0]["stages"]["text"] = 10.0  # where a start is all there is; not among the last three
    assert _growth(runs) == {
        "text": {"stages": pytest.approx(1), "peak_own_bytes": pytest.approx(0.5)},
        "rows": {"stages": pytest.approx(0)},
    }
    assert _growth(runs[:2]) == _growth([runs[1]] * 3) == {}


def test_data_is_prepared_by_the_command_and_measured(tmp_path):
    assert main(["bench", "data", "--pairs", "4000", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "data.png").exists(), "of one size nothing grows"
    record = json.loads((tmp_path / "data.json").read_text())
    (run,) = record["runs"]
    assert run["pairs"] == 4_000
    assert run["text_bytes"] == sum(p.stat().st_size for p in tmp_path.glob("corpus-4000/*"))
    rss, own = (max(run[f"peak_{kind}_bytes"].values()) for kind in ("rss", "own"))
    assert rss > 30_000_000, "an interpreter alone takes as much"
    assert 0 < own < rss
    assert 0 < sum(run["stages"].values()) <= run["seconds"]
    assert set(record["definitions"]) >= set(run) - {"pairs", "rows"}
    assert run["packed_pairs_per_second"] > run["pairs_per_second"], "a part of the whole"
    assert min(run["sentencepiece_pairs_per_second"], run["milliseconds_per_update"]) > 0
    assert main(["bench", "data", "--pairs", "0", "--out", str(tmp_path)]) == 2
