"""Corpus BLEU, every ruler from one set of raw outputs, each with its signature (§6.1).

The paper does not say how its BLEU was taken. tensor2tensor's `get_ende_bleu.sh` of the same month
tokenises with Moses, splits compounds at hyphens and runs `multi-bleu.perl`, cased. That ruler
stands here beside sacreBLEU's: one output can score 1.5 apart between the two (tensor2tensor#317).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from aiayn.errors import UserError
from aiayn.evaluation.scores import Headline, Score, Scores


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str] | None = None,
    *,
    src: str,
    tgt: str,
) -> Scores:
    """Every figure for detokenised hypotheses, one per reference; an empty one counts as such.

    Sources only serve to notice hypotheses that repeat them.

    Raises:
        UserError: nothing to score, unequal counts, or text that is plainly not detokenised
            sentences (subword markers, SGML), whose figures would mislead.
    """
    _check_counts(hypotheses, references, sources)
    warnings = [
        *_check_plain("hypotheses", hypotheses),
        *_check_plain("references", references),
        *_oddities(hypotheses, references, sources, src, tgt),
    ]

    chrf = CHRF()
    chrf2 = chrf.corpus_score(hypotheses, [references]).score
    entries = [
        _bleu("sacrebleu", hypotheses, references, "sacreBLEU of the same signature"),
        _bleu("sacrebleu-lc", hypotheses, references, "BLEU called uncased or -lc", lowercase=True),
        _bleu("intl", hypotheses, references, "sacreBLEU of the same signature", tokenize="intl"),
        Score("chrf2", chrf2, chrf.get_signature().format(), "chrF2 of the same signature"),
    ]

    is_papers = (src, tgt) == ("en", "de")
    compare = {
        "tokenised": "multi-bleu.perl on Moses tokens",
        "tokenised-lc": "multi-bleu.perl -lc on Moses tokens",
        "compound-split": "the paper's En-De BLEU" if is_papers else "multi-bleu.perl, likewise",
        "compound-split-quotes": "the same, of references whose quotes were made plain",
    }
    tokenise = _moses_tokeniser(tgt)
    if tokenise is None:
        missing = "sacremoses is not installed"
        entries += [Score(name, None, missing, compare[name]) for name in compare]
    else:
        moses = f"sacremoses {version('sacremoses')} -l {tgt}"
        hyp = [tokenise(line) for line in hypotheses]
        ref = [tokenise(line) for line in references]
        for name, lowercase in (("tokenised", False), ("tokenised-lc", True)):
            entries.append(_bleu(name, hyp, ref, compare[name], moses, lowercase))
        hyp, ref = [split_compounds(line) for line in hyp], [split_compounds(line) for line in ref]
        name = "compound-split"
        entries.append(_bleu(name, hyp, ref, compare[name], f"{moses}, split at hyphens"))
        hyp, ref = ([plain_quotes(line) for line in lines] for lines in (hyp, ref))
        name, how = "compound-split-quotes", f"{moses}, split at hyphens, quotes made plain"
        entries.append(_bleu(name, hyp, ref, compare[name], how))
    return Scores(src, tgt, len(references), tuple(entries), tuple(warnings))


def headline(hypotheses: Sequence[str], references: Sequence[str]) -> Headline:
    """sacreBLEU alone: 13a tokens, cased, 0 to 100."""
    metric = BLEU()
    found = metric.corpus_score(hypotheses, [references])
    return Headline(found.score, metric.get_signature().format(), found.ratio)


def split_compounds(tokens: str) -> str:
    """Hyphens between non-spaces become words of their own, as `get_ende_bleu.sh` has it.

    The script's matches do not overlap, so that of `x-y-z` only the first hyphen is split; papers
    were compared on that.
    """
    return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", tokens)


def plain_quotes(tokens: str) -> str:
    """Typographic quotes as `"` and `'`.

    The German side of newstest2014 has „these“ where the training text has "those"; T2T's users
    found that the reference must be altered to meet the paper's figure (tensor2tensor#317).
    """
    return tokens.translate(_PLAIN_QUOTES)


_PLAIN_QUOTES = str.maketrans({**dict.fromkeys("„“”«»", '"'), **dict.fromkeys("‚‘’‹›", "'")})

FILTERED_NEWSTEST2014 = 2_737


def _bleu(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[str],
    compare: str,
    tokenised_by: str = "",
    lowercase: bool = False,
    tokenize: str = "13a",
) -> Score:
    """BLEU of raw text by one of sacreBLEU's tokenisers; or of text tokenised before, without
    smoothing, as `multi-bleu.perl` has it.

    `force` only silences a warning about tokenised text on stderr; `_oddities` looks for that.
    """
    if tokenised_by:
        metric = BLEU(lowercase=lowercase, tokenize="none", smooth_method="none", force=True)
    else:
        metric = BLEU(lowercase=lowercase, tokenize=tokenize, force=True)
    found = metric.corpus_score(hypotheses, [references])
    signature = metric.get_signature().format()
    return Score(
        name=name,
        value=found.score,
        how=f"{tokenised_by}, {signature}" if tokenised_by else signature,
        compare=compare,
        detail=(
            f"{'/'.join(f'{p:.1f}' for p in found.precisions)}, BP {found.bp:.3f}, "
            f"{found.sys_len}/{found.ref_len}"
        ),
    )


def _moses_tokeniser(language: str) -> Callable[[str], str] | None:
    """Moses' `tokenizer.perl -l language`; None where `sacremoses` is missing.

    Escapes such as `&apos;` would change no score and are left out.
    """
    try:
        from sacremoses import MosesTokenizer
    except ImportError:
        return None
    moses: Any = MosesTokenizer(lang=language)
    return lambda line: moses.tokenize(line, return_str=True, escape=False)


def _check_counts(
    hypotheses: Sequence[str], references: Sequence[str], sources: Sequence[str] | None
) -> None:
    if not references:
        raise UserError("There are no references; wanted at least one.")
    for name, lines in (("hypotheses", hypotheses), ("sources", sources)):
        if lines is not None and len(lines) != len(references):
            raise UserError(
                f"There are {len(lines)} {name} but {len(references)} references; "
                "wanted one line for each sentence in both."
            )


_NOT_PLAIN = {
    "subword markers": re.compile("▁|@@(?: |$)"),
    "SGML tags": re.compile(r"^\s*</?(?:seg|doc|p|hl|refset|srcset|tstset)\b"),
}


def _check_plain(name: str, lines: Sequence[str]) -> Iterator[str]:
    """Refuses lines of which more than a tenth are no plain sentences; fewer make a warning."""
    for what, pattern in _NOT_PLAIN.items():
        found = [number for number, line in enumerate(lines, 1) if pattern.search(line)]
        if not found:
            continue
        first = f"line {found[0]}, {lines[found[0] - 1].strip()[:60]!r}"
        message = f"{len(found)} of {len(lines)} {name} hold {what}, the first in {first}"
        if 10 * len(found) > len(lines):
            raise UserError(f"{message}; wanted plain, detokenised sentences.")
        yield f"{message}."


def _oddities(
    hypotheses: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str] | None,
    src: str,
    tgt: str,
) -> Iterator[str]:
    """What a reader of the figures should know about the text that they were taken on."""
    num_sentences = len(references)
    num_empty = sum(not line.strip() for line in hypotheses)
    if num_empty:
        yield f"{num_empty} of {num_sentences} hypotheses are empty."

    tokenised = re.compile(r" [.,]( |$)|&(?:apos|quot|amp|#\d+);")
    num_hyp, num_ref = (
        sum(bool(tokenised.search(line)) for line in lines) for lines in (hypotheses, references)
    )
    if 10 * (num_hyp - num_ref) > num_sentences:
        yield (
            f"{num_hyp} of {num_sentences} hypotheses look tokenised, against {num_ref} "
            "references; detokenise them first."
        )

    if sources is not None:
        triples = zip(hypotheses, references, sources, strict=True)
        num_copies = sum(hyp == source != ref for hyp, ref, source in triples)
        if 5 * num_copies > num_sentences:
            yield (
                f"{num_copies} of {num_sentences} hypotheses repeat their source; "
                f"are they in {tgt!r}?"
            )

    if num_sentences == FILTERED_NEWSTEST2014 and {src, tgt} == {"en", "de"}:
        yield (
            f"{num_sentences:,} sentences are newstest2014 as it was filtered for its campaign, "
            "sacreBLEU's 'wmt14'; the full set, 'wmt14/full', has 3,003 and scores differently."
        )

    if tgt in ("zh", "ja", "th", "lo", "km", "my"):
        yield f"{tgt!r} is written without spaces, where these tokenisers find no words; see chrF2."
