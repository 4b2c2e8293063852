"""Paired bootstrap is sacreBLEU's own, and files that belong together have as many lines."""

import gzip
import io
import random
import unicodedata

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

import aiayn.evaluation.systems
from aiayn.errors import UserError
from aiayn.evaluation.bleu import score
from aiayn.evaluation.systems import aligned, compare, read_aligned, show_systems
from aiayn.render.terminal import Terminal


def text(num_wrong: int) -> list[str]:
    """Sentences of eight words, some of which are wrong."""
    lines = [[f"w{random.Random(line).randrange(50)}x{n}" for n in range(8)] for line in range(40)]
    rng = random.Random(num_wrong)
    for _ in range(num_wrong):
        lines[rng.randrange(40)][rng.randrange(8)] = "wrong"
    return [" ".join(line) for line in lines]


@pytest.mark.parametrize("seed", ["12345", "7"])
def test_paired_bootstrap_is_that_of_sacrebleu(seed, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    references = [text(0), text(5)]
    systems = {"good": text(20), "bad": text(80), "same": text(20)}
    found = compare(systems, references, src="en", tgt="de")
    metrics = {"BLEU": BLEU(force=True), "chrF2": CHRF()}
    signatures, theirs = PairedTest(list(systems.items()), metrics, references, "bs")()
    for ours, name in (("sacrebleu", "BLEU"), ("chrf2", "chrF2")):
        assert found.resampled[ours].signature == signatures[name].format()
        assert f"|bs:1000|seed:{seed}|" in found.resampled[ours].signature
        for (system, chance), result in zip(
            found.resampled[ours].systems.items(), theirs[name], strict=True
        ):
            assert isinstance(result, Result)
            assert found.scores[system][ours].value == pytest.approx(result.score)
            assert (chance.mean, chance.confidence) == (result.mean, result.ci)
            assert chance.p_value == (result.p_value if system == "bad" else None)
    assert (found.resampled["sacrebleu"].systems["bad"].p_value or 1) < 0.05


def test_systems_that_a_figure_does_not_tell_apart_differ_by_no_chance():
    good = [f"{line} ." for line in text(20)]
    apart = [f"{line}." for line in text(20)]  # the same to 13a, which cuts the point off
    systems = {"good": good, "apart": apart, "bad": [f"{line} ." for line in text(80)]}
    found = compare(systems, [[f"{line} ." for line in text(0)]], src="en", tgt="de")
    bleu = found.resampled["sacrebleu"].systems
    assert bleu["apart"].mean == bleu["good"].mean
    assert bleu["apart"].p_value is None
    assert (bleu["bad"].p_value or 1) < 0.05


def test_each_system_has_the_scores_that_it_has_alone():
    references, systems = [text(0)], {"a": text(20), "b": text(30)}
    found = compare(systems, references, references[0], src="en", tgt="deu")
    for name, lines in systems.items():
        assert found.scores[name] == score(lines, references[0], references[0], src="en", tgt="deu")


def test_too_many_sentences_to_resample_are_scored_without(monkeypatch):
    monkeypatch.setattr(aiayn.evaluation.systems, "MOST_RESAMPLED", 39)
    found = compare({"a": text(20)}, [text(0)], src="en", tgt="de")
    assert found.resampled == {}
    assert "No confidence was estimated: there are more than 39 sentences." in shown(found, 80)


def shown(found, width) -> str:
    console = Terminal(width=width, record=True, file=io.StringIO())
    show_systems(found, console)
    return console.export_text()


@pytest.mark.parametrize("width", [20, 80])
def test_what_is_shown_is_whole(width):
    found = compare({"[b]": text(20), "other": text(80)}, [text(0)], src="en", tgt="de")
    page = shown(found, width)
    for resampled in found.resampled.values():
        assert f"  {resampled.signature}\n" in page
        for name, chance in resampled.systems.items():
            assert f"{chance.mean:.2f}±{chance.confidence:.2f}" in page
            assert name in page
            assert chance.p_value is None or f"{chance.p_value:.4f}" in page
    assert "chance alone makes so large a difference from [b]" in page
    alone = shown(compare({"[b]": text(20)}, [text(0)], src="en", tgt="de"), width)
    assert "difference" not in alone
    assert "±" in alone


def test_the_signature_says_if_any_system_was_normalised():
    plain, decomposed = ["Er käme."] * 3, [unicodedata.normalize("NFD", "Er käme.")] * 3
    for systems in ((plain, decomposed), (decomposed, plain)):
        found = compare(dict(zip("ab", systems, strict=True)), [plain], src="en", tgt="de")
        assert found.resampled["sacrebleu"].signature.startswith("hypotheses normalised (NFC")
    unchanged = compare({"a": plain}, [plain], src="en", tgt="de")
    assert "normalised" not in unchanged.resampled["sacrebleu"].signature


def test_a_seed_that_is_none_is_refused(monkeypatch):
    for seed in ("x", "-1", "", "0"):  # 0 is no seed to sacreBLEU: each run has other figures
        monkeypatch.setenv("SACREBLEU_SEED", seed)
        with pytest.raises(UserError, match=r"SACREBLEU_SEED is .+ wanted a whole number"):
            compare({"a": ["a"]}, [["a"]], src="en", tgt="de")


def test_files_of_unequal_counts_are_refused_by_name(tmp_path):
    for name, count in (("a", 2), ("b", 2), ("c", 3)):
        (tmp_path / name).write_text("line\n" * count)
    with gzip.open(tmp_path / "d.gz", "wt") as file:
        file.write("zipped\r\nline")
    a, b, c, d = (tmp_path / name for name in ("a", "b", "c", "d.gz"))
    assert read_aligned(a, b, d) == [["line"] * 2, ["line"] * 2, ["zipped", "line"]]
    with pytest.raises(UserError, match=f"{a} has 2 lines and {c} 3; wanted as many"):
        read_aligned(a, b, c)


def test_lines_that_files_share_come_before_their_counts_are_compared(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1\n2\n3\n4\n")
    b.write_text("one\ntwo\n")
    pairs = [("1", "one"), ("2", "two")]
    for files, wanted in (((a, b), pairs), ((b, a), [pair[::-1] for pair in pairs])):
        found = []
        with pytest.raises(UserError, match=r"has [24] lines and .* [24]; wanted as many"):
            found.extend(aligned(*files))
        assert found == wanted
    assert read_aligned(a) == [["1", "2", "3", "4"]]
