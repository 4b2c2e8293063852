"""Corpus BLEU, every ruler from one set of raw outputs, each with its signature (§6.1).

The paper does not say how its BLEU was taken. tensor2tensor's `get_ende_bleu.sh` of the same month
tokenises with Moses, splits compounds at hyphens and runs `multi-bleu.perl`, cased. That ruler
stands here beside sacreBLEU's: one output can score 1.5 apart between the two (tensor2tensor#317).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from importlib.metadata import version
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple, cast

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from aiayn.data.languages import CHINESE, has_blanks, parse
from aiayn.data.plain import check_plain
from aiayn.data.text import clean
from aiayn.evaluation.oddities import (
    check_counts,
    is_normalised,
    named_sides,
    oddities,
)
from aiayn.evaluation.scores import Headline, Score, Scores

References = Sequence[str] | Sequence[Sequence[str]]
"""One reference for each sentence, or several lists of them."""


def score(
    hypotheses: Sequence[str],
    references: References,
    sources: Sequence[str] | None = None,
    *,
    src: str,
    tgt: str,
    tokens: bool = False,
) -> Scores:
    """Every figure for detokenised hypotheses, one per sentence; an empty one counts as such.

    Both sides are scored in NFC, which our outputs always are. Of several lists of references each
    n-gram finds its best match, as sacreBLEU and `multi-bleu.perl` have it. Sources only serve to
    notice hypotheses that repeat them. Languages may be spelled in any way; "" is an unknown one.
    With `tokens`, text is tokenised already on both sides, and what stands between blanks is a
    token: the figures are those that need no other.

    Raises:
        UserError: nothing to score, unequal counts, or text that is plainly not detokenised
            sentences (subword markers, SGML), whose figures would mislead.
    """
    lists = _lists(references)
    check_counts(hypotheses, lists, sources)
    warnings = [w for side in named_sides(hypotheses, lists) for w in check_plain(*side, tokens)]
    finds_words = tokeniser_of(tgt) != "13a"
    pair = language(src), language(tgt)
    warnings += oddities(hypotheses, lists, sources, *pair, finds_words, tokens)
    text = normalised(hypotheses, lists)
    if tokens:
        return Scores(src, tgt, len(hypotheses), (*_rulers_of_tokens(text),), (*warnings,))
    warnings += _lacking(tgt)
    entries = [*_rulers_of_raw_text(text, tgt), *_rulers_of_moses(text, src, tgt)]
    return Scores(src, tgt, len(hypotheses), tuple(entries), tuple(warnings))


def headline(
    hypotheses: Sequence[str], references: References, tgt: str, tokens: bool = False
) -> Headline:
    """sacreBLEU alone: cased, by the tokeniser of the target language, or of `tokens` as they are;
    0 to 100.
    """
    text = normalised(hypotheses, _lists(references))
    metric = _sacrebleu("none" if tokens else tokeniser_of(tgt))
    found = metric.corpus_score(text.hypotheses, text.references)
    return Headline(found.score, text.how(metric.get_signature().format()), found.ratio)


def metrics_of(tgt: str, tokens: bool = False) -> dict[str, BLEU | CHRF]:
    """sacreBLEU's two figures that stand first in the tables, by the name of theirs."""
    return {"sacrebleu": _sacrebleu("none" if tokens else tokeniser_of(tgt)), "chrf2": CHRF()}


# --- Languages ----------------------------------------------------------------------------------


def language(code: str) -> str:
    """The language of a code in any spelling: `zh` for zh_CN, ZH, cmn and zho_Hans."""
    return parse(code).language


_TOKENISERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CHINESE, ("zh",)),
    "ja": ("ja-mecab", "char"),
    "ko": ("ko-mecab", "char"),
}
"""sacreBLEU's tokenisers by language, the first that is installed."""


def _tokenisers(code: str) -> tuple[str, ...]:
    """Of other languages 13a, or characters where nothing finds their words."""
    if parse(code).script == "latn":
        return ("13a",)
    return _TOKENISERS.get(language(code), ("13a",) if has_blanks(code) else ("char",))


@cache
def tokeniser_of(code: str) -> str:
    """The name of sacreBLEU's tokeniser for a language, as far as it is installed here."""
    *better, last = _tokenisers(code)
    for name in better:
        try:
            _sacrebleu(name)
        except (RuntimeError, AssertionError):  # MeCab is missing, or has another dictionary
            continue
        return name
    return last


def _lacking(code: str) -> Iterator[str]:
    wanted, found = _tokenisers(code)[0], tokeniser_of(code)
    if wanted != found:
        yield (
            f"{wanted} is not installed, so characters are counted for words; "
            f"pip install 'sacrebleu[{language(code)}]' brings it."
        )


# --- Text ---------------------------------------------------------------------------------------


class Text(NamedTuple):
    """Both sides as they are scored, and what was changed in them, if anything was."""

    hypotheses: Sequence[str]
    references: Sequence[Sequence[str]]
    changed: str = ""

    def how(self, *steps: str) -> str:
        """What was done to the text, in order, up to the signature."""
        return ", ".join(filter(None, (self.changed, *steps)))

    def mapped(self, function: Callable[[str], str]) -> "Text":
        """Each line through a function."""
        hypotheses, *references = (
            [function(line) for line in lines] for lines in (self.hypotheses, *self.references)
        )
        return Text(hypotheses, references, self.changed)


def normalised(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Text:
    """Both sides as `clean` makes all text: NFC, single blanks."""
    changed = [
        name
        for name, lists in (("hypotheses", [hypotheses]), ("references", references))
        if not all(is_normalised(line) for lines in lists for line in lines)
    ]
    note = f"{' and '.join(changed)} normalised (NFC, nothing invisible)" if changed else ""
    return Text(hypotheses, references, note).mapped(clean)


def _lists(references: References) -> list[Sequence[str]]:
    if all(isinstance(each, str) for each in references):
        return [cast(Sequence[str], references)]
    return list(cast(Sequence[Sequence[str]], references))


def split_compounds(tokens: str) -> str:
    """Hyphens between non-spaces become words of their own, as `get_ende_bleu.sh` has it.

    The script's matches do not overlap, so that of `x-y-z` only the first hyphen is split; papers
    were compared on that.
    """
    # It reads bytes, so of `Ö-Ä-Ü` both hyphens are split.
    split = re.sub(rb"(\S)-(\S)", rb"\1 ##AT##-##AT## \2", tokens.encode("utf-8", "surrogatepass"))
    return split.decode("utf-8", "surrogatepass")


def plain_quotes(tokens: str) -> str:
    """Typographic quotes as `"` and `'`.

    The German side of newstest2014 has „these“ where the training text has "those"; T2T's users
    found that the reference must be altered to meet the paper's figure (tensor2tensor#317).
    """
    return tokens.translate(_PLAIN_QUOTES)


_PLAIN_QUOTES = str.maketrans({**dict.fromkeys("„“”«»", '"'), **dict.fromkeys("‚‘’‹›", "'")})


def lower_ascii(tokens: str) -> str:
    """A to Z alone in lower case: the `lc` of `multi-bleu.perl`, which reads bytes, leaves É."""
    return tokens.translate(_LOWER_ASCII)


_LOWER_ASCII = str.maketrans(ascii_uppercase, ascii_lowercase)


# --- Rulers -------------------------------------------------------------------------------------


def _rulers_of_raw_text(text: Text, tgt: str) -> Iterator[Score]:
    """sacreBLEU's own."""
    same, tokens = "sacreBLEU of the same signature", tokeniser_of(tgt)
    uncased = "BLEU called uncased or -lc"
    yield _bleu("sacrebleu", text, _sacrebleu(tokens), same)
    yield _bleu("sacrebleu-lc", text, _sacrebleu(tokens, lowercase=True), uncased)
    if has_blanks(tgt):
        yield _bleu("intl", text, _sacrebleu("intl"), same)
    else:
        yield Score("intl", None, _no_words("intl", tgt), same)
    yield _chrf2(text, "chrF2 of the same signature")


def _rulers_of_tokens(text: Text) -> Iterator[Score]:
    """sacreBLEU's own, and without smoothing, as toolkits score what they were trained on."""
    there = "on the same tokens"
    yield _bleu("sacrebleu", text, _sacrebleu("none"), f"sacreBLEU of the same signature {there}")
    yield _chrf2(text, f"chrF2 of the same signature {there}")
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    yield _bleu("tokens", text, metric, f"multi-bleu.perl or fairseq's score {there}")


def _rulers_of_moses(text: Text, src: str, tgt: str) -> Iterator[Score]:
    """BLEU of Moses' tokens without smoothing, as `multi-bleu.perl` has it."""
    is_papers = (language(src), language(tgt)) == ("en", "de")
    compare = {
        "tokenised": "multi-bleu.perl on Moses tokens",
        "tokenised-lc": "multi-bleu.perl -lc on Moses tokens",
        "compound-split": "the paper's En-De BLEU" if is_papers else "multi-bleu.perl, likewise",
        "compound-split-quotes": "the same, where quotes of both sides were made plain",
    }
    tokenise = _moses_tokeniser(tgt)
    if isinstance(tokenise, str):
        yield from (Score(name, None, tokenise, compare[name]) for name in compare)
        return
    moses = f"sacremoses {version('sacremoses')} -l {language(tgt)}"
    cased = text.mapped(tokenise)
    split = cased.mapped(split_compounds)
    for name, tokens, step in (
        ("tokenised", cased, ""),
        ("tokenised-lc", cased.mapped(lower_ascii), "A-Z lower-cased"),
        ("compound-split", split, "split at hyphens"),
        (
            "compound-split-quotes",
            split.mapped(plain_quotes),
            "split at hyphens, quotes made plain",
        ),
    ):
        metric = BLEU(tokenize="none", smooth_method="none", force=True)
        yield _bleu(name, tokens, metric, compare[name], moses, step)


def _chrf2(text: Text, compare: str) -> Score:
    metric = CHRF()
    value = metric.corpus_score(text.hypotheses, text.references).score
    return Score("chrf2", value, text.how(metric.get_signature().format()), compare)


def _no_words(tokeniser: str, tgt: str) -> str:
    return f"{tokeniser} finds no words in {tgt}, which is written without blanks"


def _sacrebleu(tokenize: str, lowercase: bool = False) -> BLEU:
    """`force` only silences a warning about tokenised text on stderr; `oddities` looks for that."""
    return BLEU(lowercase=lowercase, tokenize=tokenize, force=True)


def _bleu(name: str, text: Text, metric: BLEU, compare: str, *steps: str) -> Score:
    found = metric.corpus_score(text.hypotheses, text.references)
    return Score(
        name=name,
        value=found.score,
        how=text.how(*steps, metric.get_signature().format()),
        compare=compare,
        detail=(
            f"{'/'.join(f'{p:.1f}' for p in found.precisions)}, BP {found.bp:.3f}, "
            f"{found.sys_len}/{found.ref_len}"
        ),
    )


def _moses_tokeniser(tgt: str) -> Callable[[str], str] | str:
    """Moses' `tokenizer.perl -l language`, or the reason why there is none.

    Escapes such as `&apos;` would change no score and are left out. As sacreBLEU's tokenisers, it
    remembers lines: several systems have the same references.
    """
    if not tgt:
        return "the tokenizer of Moses needs the target language"
    if not has_blanks(tgt):
        return _no_words("the tokenizer of Moses", tgt)
    try:
        from sacremoses import MosesTokenizer
    except ImportError:
        return "sacremoses is not installed"
    known = language(tgt)
    if known == "ga":
        return "sacremoses cuts Irish at apostrophes otherwise than Moses"
    if known not in _MOSES:
        moses: Any = MosesTokenizer(lang=known)
        tokenise = partial(moses.tokenize, return_str=True, escape=False)
        _MOSES[known] = lru_cache(maxsize=2**16)(tokenise)
    return _MOSES[known]


_MOSES: dict[str, Callable[[str], str]] = {}
