"""Every claim of the paper that can be checked, beside what this repository has to show for it.

`holds` and `fails` are computations with the program's own code that run now (`checks`),
`arithmetic` does the paper's own sums once more, without that code, so that it says nothing of it;
`measured` comes from the record of a run, `differs` gives its reason, `not run here` the command
and its cost. No value of ours is typed: all come from code and records.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import jax

from aiayn.evidence import gpt_checks, parsed_text, recipe_checks, table3, transfer
from aiayn.evidence import model_checks as checks
from aiayn.evidence.paper import (
    BASE,
    BIG,
    ENFR_BIG_BLEU_IN_PROSE,
    NUM_GPUS,
    PARSED_BY,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TOKENS_PER_UPDATE,
    TRAINING,
    WSJ_ONLY,
)
from aiayn.evidence.published import PUBLISHED
from aiayn.evidence.records import (
    Ablation,
    RunRecord,
    is_stale,
    load_ablations,
    load_parsed_text,
    load_pretraining,
    load_records,
)
from aiayn.evidence.table3 import ROWS
from aiayn.evidence.tables import ablation_origin
from aiayn.experiments import load_experiment
from aiayn.render.markdown import hardware_text, number, short_commit

Status = Literal["holds", "arithmetic", "fails", "measured", "differs", "not run here"]
Records = Mapping[str, RunRecord]
"""The records of runs, by experiment."""
Ablations = Mapping[str, Ablation]
Recorded = TypeVar("Recorded", RunRecord, Ablation)


@dataclass(frozen=True)
class Claim:
    """One line of the ledger."""

    id: str
    section: str
    text: str
    paper: str
    ours: str
    status: Status
    how: str
    """The check, the record or the reason behind `ours`; what it takes, where nothing was run."""


class Entry(NamedTuple):
    """A claim that is decided when it is asked for."""

    id: str
    decide: Callable[[], Claim]


def entries(
    records: Records,
    ablations: Ablations,
    pretraining: Ablation | None = None,
    parsed: Ablation | None = None,
) -> Iterator[Entry]:
    """The whole ledger, in the order of the paper, undecided; then GPT-1's, whose model is the
    decoder alone."""
    for part in (_architecture, _table_1, _data, _training, _table_2, _table_3):
        yield from part(records)
    yield from _miniature(ablations)
    yield from _table_4(records)
    yield _parsed_text(parsed)
    yield from _rest()
    yield from _gpt(pretraining)


def ledger(folder: Path, on_claim: Callable[[str], None] = lambda id: None) -> list[Claim]:
    """All claims, decided now; `folder` holds the records.

    `on_claim` is called with the id of each claim that is about to be decided.
    """
    claims: list[Claim] = []
    # Against float64 on accelerators too, where products are coarser by default.
    with jax.default_matmul_precision("highest"):
        records = by_experiment(load_records(folder))
        ablations = by_experiment(load_ablations(folder))
        moved = by_experiment(load_pretraining(folder))
        parsed = by_experiment(load_parsed_text(folder))
        studies = moved.get(transfer.NAME), parsed.get(parsed_text.NAME)
        for entry in entries(records, ablations, *studies):
            on_claim(entry.id)
            claims.append(entry.decide())
    return claims


def by_experiment(found: Iterable[Recorded]) -> Mapping[str, Recorded]:
    """The record of each experiment; of several that whose file is named after it."""
    ordered = sorted(found, key=lambda record: record.file == f"{record.experiment}.json")
    return {record.experiment: record for record in ordered}


def counts(claims: Sequence[Claim]) -> dict[Status, int]:
    """How many claims have each status."""
    return {status: sum(claim.status == status for claim in claims) for status in _ORDER}


_ORDER: tuple[Status, ...] = (
    "holds",
    "arithmetic",
    "measured",
    "differs",
    "not run here",
    "fails",
)


# --- How a claim is decided ---------------------------------------------------------------------

About = tuple[str, str, str, str]
"""Id, section, text and the paper's value."""


def _checked(
    about: About,
    check: Callable[[], checks.Found],
    differs: str = "",
    status_if_so: Status = "holds",
) -> Entry:
    """The check runs now. Where it finds what is known to differ, `differs` is the reason."""

    def decide() -> Claim:
        function = check.func if isinstance(check, partial) else check
        how = f"{function.__module__}.{function.__name__}, run now"
        try:
            found = check()
        except Exception as error:  # a check that breaks is a claim that fails, and is shown so
            found = checks.Found(f"{type(error).__name__}: {error}", holds=False)
        if found.holds:
            return Claim(*about, found.ours, status_if_so, how)
        if differs and found.is_as_known:
            return Claim(*about, found.ours, "differs", f"{differs} ({how})")
        return Claim(*about, found.ours, "fails", how)

    return Entry(about[0], decide)


_arithmetic = partial(_checked, status_if_so="arithmetic")
"""A claim of which only the paper's own numbers are looked at."""


def _said(about: About, ours: str, status: Status, how: str) -> Entry:
    return Entry(about[0], lambda: Claim(*about, ours, status, how))


def _run(
    about: About,
    records: Records,
    experiment: str,
    value: Callable[[RunRecord], str],
    size: str,
) -> Entry:
    """What the record of an experiment says; else the command, and its cost by the paper."""
    record = records.get(experiment)
    if record is None:
        steps = TRAINING[size].num_steps
        flops = recipe_checks.exact_flops(experiment)
        cost = f"make train EXPERIMENT={experiment}; {flops:.1e} FLOPs of products, {steps:,} steps"
        if experiment.startswith("wmt14"):
            cost += f", {TRAINING[size].hours:g} h on {NUM_GPUS} P100 in the paper"
        return _said(about, "–", "not run here", cost)
    return _measured(about, record, value)


def _measured(
    about: About, record: RunRecord, value: Callable[[RunRecord], str], more: str = ""
) -> Entry:
    """What a record says, and where it is from."""
    stale = "STALE, not the settings of now: " if is_stale(record) else ""
    how = (
        f"{stale}experiments/results/{record.file}, commit {short_commit(record.commit)}, "
        f"config {record.config_hash[:12]}, preset {record.preset}, seed "
        f"{record.config['train']['seed']}, {record.seconds / 3_600:.1f} h on "
        f"{hardware_text(record.hardware)}{more}"
    )
    try:
        return _said(about, value(record), "measured", how)
    except LookupError:
        return _said(about, "–", "not run here", f"not scored by the run: {how}")


def _score(test_set: str, name: str, averaged: bool) -> Callable[[RunRecord], str]:
    """A figure of a record with its signature: of the averaged model, or the last checkpoint's."""

    def value(record: RunRecord) -> str:
        found = list(record.scores[test_set].values())[-1 if averaged else 0][name]
        return f"{number(found.value)} ({found.how})"

    return value


# --- The ledger ---------------------------------------------------------------------------------


def _architecture(_: Records) -> Iterator[Entry]:
    def claim(
        id: str,
        section: str,
        text: str,
        paper: str,
        *,
        check: Callable[[], checks.Found],
        differs: str = "",
    ) -> Entry:
        return _checked((id, section, text, paper), check, differs)

    text = "Encoder and decoder are stacks of N layers"
    yield claim("layers", "§3.1", text, "N = 6", check=checks.stacks)
    text = "The output of each sublayer is LayerNorm(x + Sublayer(x))"
    yield claim("post-norm", "§3.1", text, "after the sum", check=checks.post_norm)
    text = "All sublayers and the embeddings produce outputs of d_model"
    yield claim("d_model", "§3.1", text, "512", check=checks.widths)
    text = "A prediction depends on earlier outputs only: the mask"
    yield claim("causal-mask", "§3.1", text, "positions < i", check=checks.causality)
    text = "A prediction depends on earlier outputs only: outputs enter offset by one"
    yield claim("shift", "§3.1", text, "one position", check=checks.shift)
    text = "Attention(Q, K, V) = softmax(QKᵀ/√d_k)V"
    yield claim("attention", "§3.2.1", text, "eq. 1", check=checks.scaled_dot_product)
    text = "Without the scale, dot products of random vectors have a variance of d_k"
    yield _arithmetic(("variance", "§3.2.1", text, "d_k"), checks.dot_variance)
    text = "Parallel heads of d_model/h"
    yield claim("heads", "§3.2.2", text, "h = 8, d_k = d_v = 64", check=checks.heads)
    text = "All heads cost about as much as a single one of full width"
    yield claim("multi-head-cost", "§3.2.2", text, "similar", check=checks.multi_head_cost)
    text = "Attention is used in three ways: encoder, decoder, between them"
    yield claim("three-uses", "§3.2.3", text, "6, 6 and 6", check=checks.three_uses)
    text = "Illegal connections are masked with −∞ before the softmax"
    yield claim("masking", "§3.2.3", text, "weight 0", check=checks.masking)
    text = "FFN(x) = max(0, xW₁ + b₁)W₂ + b₂, at each position alike"
    yield claim("feed-forward", "§3.3", text, "eq. 2, d_ff = 2,048", check=checks.feed_forward)
    text = "Both embeddings and the last linear map share a matrix, embeddings times √d_model"
    yield claim("shared-matrix", "§3.4", text, "one matrix", check=checks.shared_matrix)
    text = "PE(pos, 2i) = sin(pos/10000^(2i/d_model)), PE(pos, 2i+1) the cosine"
    yield claim("positions", "§3.5", text, "formula", check=checks.sinusoid_formula)
    text = "Wavelengths form a geometric progression"
    reason = "by the paper's own formula the last i is d_model/2−1, which falls short of 10000"
    yield claim(
        "wavelengths", "§3.5", text, "2π to 10000·2π", check=checks.wavelengths, differs=reason
    )
    text = "PE(pos+k) is a linear function of PE(pos) for any fixed k"
    yield claim("relative-positions", "§3.5", text, "linear", check=checks.relative_positions)


_COMPLEXITY = {
    "self-attention": ("O(n²·d)", "O(1)", "O(1)"),
    "recurrent": ("O(n·d²)", "O(n)", "O(n)"),
    "convolutional": ("O(k·n·d²)", "O(1)", "O(log_k(n))"),
    "self-attention (restricted)": ("O(r·n·d)", "O(1)", "O(n/r)"),
}


def _table_1(_: Records) -> Iterator[Entry]:
    for name, (flops, sequence, path) in _COMPLEXITY.items():
        for check, what, paper in (
            (recipe_checks.layer_flops, "complexity per layer", flops),
            (recipe_checks.layer_sequence, "sequential operations", sequence),
            (recipe_checks.layer_path, "maximum path length", path),
        ):
            id = f"table1-{name.replace(' ', '-').strip(')').replace('(', '')}-{what.split()[0]}"
            yield _checked((id, "Table 1", f"{name}: {what}", paper), partial(check, name))
    text = "Self-attention layers are faster than recurrent ones when n < d"
    about = "attention-or-recurrence", "§4", text, "n < d"
    yield _checked(about, recipe_checks.attention_beats_recurrence)


def _data(records: Records) -> Iterator[Entry]:
    ende, enfr = (load_experiment(f"wmt14_{pair}_base").data for pair in ("ende", "enfr"))
    yield _said(
        ("pairs-ende", "§5.1", "WMT14 En-De, sentence pairs", "about 4.5 million"),
        f"{ende.num_pairs[0]:,}",
        "not run here",
        "asserted when the corpus is loaded: aiayn prepare wmt14_ende_base; needs the Hub",
    )
    yield _said(
        ("pairs-enfr", "§5.1", "WMT14 En-Fr, sentence pairs", "36 million"),
        f"{enfr.num_pairs[0]:,}",
        "differs",
        "the paper does not say which were left out; the Hub's copy is taken whole",
    )
    yield _said(
        ("vocabulary-ende", "§5.1", "En-De: shared byte-pair vocabulary", "about 37,000"),
        f"{ende.vocab_size:,}",
        "differs",
        "followed, but Table 3's own counts imply other sizes: see the parameters there",
    )
    yield _said(
        ("vocabulary-enfr", "§5.1", "En-Fr: word-piece vocabulary", "32,000"),
        f"{enfr.vocab_size:,}",
        "differs",
        "SentencePiece's byte-pair encoding rather than word pieces",
    )
    tokens = f"about {TOKENS_PER_UPDATE:,} + {TOKENS_PER_UPDATE:,}"

    def of_update(record: RunRecord) -> str:
        data = record.config["data"]
        return (
            f"{record.src_tokens_per_update:,.0f} + {record.tgt_tokens_per_update:,.0f} "
            f"of {data['src_tokens_per_update'] if data['src'] else 0:,} + "
            f"{data['tgt_tokens_per_update']:,}"
        )

    for name, record in records.items():
        text = f"Tokens of an update, source + target; here those of {name}"
        yield _measured((f"batch-{name}", "§5.1", text, tokens), record, of_update)


def _training(_: Records) -> Iterator[Entry]:
    for size, training in TRAINING.items():
        text = f"Training of the {size} model: steps × seconds a step, on {NUM_GPUS} P100"
        about = f"hours-{size}", "§5.2", text, f"{training.hours:g} h"
        yield _arithmetic(about, partial(recipe_checks.steps_and_hours, size))
    yield _checked(("adam", "§5.3", "Adam", "β₁ = 0.9, β₂ = 0.98, ε = 10⁻⁹"), recipe_checks.adam)
    text = "lrate = d_model^−0.5 · min(step^−0.5, step · warmup^−1.5)"
    yield _checked(("schedule", "§5.3", text, "eq. 3, warmup = 4,000"), recipe_checks.schedule)
    text = "Dropout on the output of each sublayer and on the sums of embedding and position"
    yield _checked(("dropout", "§5.4", text, "P_drop = 0.1"), recipe_checks.residual_dropout)
    about = "label-smoothing", "§5.4", "Label smoothing", "ε_ls = 0.1"
    yield _checked(about, recipe_checks.label_smoothing)
    text = "The last checkpoints are averaged, base and big"
    yield _checked(("averaging", "§6.1", text, "5 and 20"), recipe_checks.averaging)
    text = "Beam search with length penalty; output at most so much longer than the input"
    about = "beam", "§6.1", text, "beam 4, α = 0.6, input + 50"
    yield _checked(about, recipe_checks.beam)
    text = "Training FLOPs of the base model for a source and a target token"
    yield _checked(("flops-step", "§6.1", text, "–"), recipe_checks.counted_flops)
    for size, name in (("base", BASE), ("big", BIG)):
        text = f"Training cost of {size}, En-De and En-Fr: time × GPUs × sustained FLOP/s"
        about = f"flops-{size}", "Table 2", text, f"{TABLE_2[name].ende_flops:.1e}"
        yield _arithmetic(about, partial(recipe_checks.rule_flops, size))


def _table_2(records: Records) -> Iterator[Entry]:
    for size, name in (("base", BASE), ("big", BIG)):
        system = TABLE_2[name]
        for pair, bleu in (("ende", system.ende_bleu), ("enfr", system.enfr_bleu)):
            experiment = f"wmt14_{pair}_{size}"
            paper = f"{bleu}"
            if experiment == "wmt14_enfr_big":
                paper += f" (§6.1 says {ENFR_BIG_BLEU_IN_PROSE})"
            text = f"newstest2014 {pair[:2].title()}-{pair[2:].title()}, {name}: BLEU"
            about = f"bleu-{pair}-{size}", "Table 2", text, paper
            value = _score("test", PUBLISHED[experiment, "test"].ruler, averaged=True)
            yield _run(about, records, experiment, value, size)
    others = [s.ende_bleu for n, s in TABLE_2.items() if n not in (BASE, BIG) and s.ende_bleu]
    ours, theirs = TABLE_2[BIG].ende_bleu, max(others)
    assert ours is not None
    paper = f"over 2.0 BLEU ({ours} − {theirs} = {ours - theirs:.2f})"
    yield _said(
        ("beats-all", "§6.1", "En-De big is better than all before it, ensembles too, by", paper),
        "–",
        "not run here",
        "follows from wmt14_ende_big, see there; the others' figures are the paper's citations",
    )


def _table_3(records: Records) -> Iterator[Entry]:
    names = {"base": "wmt14_ende_base", "big": "wmt14_ende_big"}
    reason = "no one vocabulary gives base 65 and big 213 million"
    for row, variant in TABLE_3.items():
        experiment = names.get(row, f"table3_{row.lower()}")
        size = "big" if row == "big" else "base"
        if variant.parameters is not None:
            text = f"{row}: parameters, at 40,960 words"
            about = f"parameters-{row}", "Table 3", text, f"{variant.parameters} million"
            check = partial(recipe_checks.parameters, row)
            yield _checked(about, check, reason if row == "big" else "")
        text = f"{row}: perplexity on newstest2013"
        about = f"perplexity-{row}", "Table 3", text, f"{variant.perplexity:.2f}"
        yield _run(about, records, experiment, lambda r: f"{r.dev['dev_perplexity']:.2f}", size)
        text = f"{row}: BLEU on newstest2013, not averaged"
        about = f"bleu-{row}", "Table 3", text, f"{variant.bleu}"
        value = _score("dev", "compound-split", averaged=False)
        yield _run(about, records, experiment, value, size)


MINIATURES = ("table3_miniature", "table3_miniature_long", "table3_miniature_gpu")
"""The experiments that `aiayn ablate` is run on."""


def _miniature(ablations: Ablations) -> Iterator[Entry]:
    """What §6.2 concludes from Table 3, beside the same rows at a small size."""
    for id, text, rows in (
        ("one-head", "A single head is worse than the eight of the base model", ("A1",)),
        ("many-heads", "Quality drops with too many heads", ("A4",)),
        ("small-keys", "Smaller keys hurt", ("B1", "B2")),
        ("bigger-better", "Bigger models are better", (*(f"C{n}" for n in range(1, 8)), "big")),
        ("dropout-helps", "Dropout avoids over-fitting", ("D1",)),
        ("learned-positions", "Learned positions do nearly as well", ("E",)),
    ):
        base = TABLE_3["base"].bleu
        paper = ", ".join(f"{row} {TABLE_3[row].bleu - base:+.1f} BLEU" for row in rows)
        commands = " and ".join(f"table3_{row.lower()}" for row in rows)
        how = f"at the paper's size it needs {commands} and wmt14_ende_base, see there"
        about = id, "§6.2", text, paper
        if not ablations:
            yield _said(about, "–", "not run here", how)
            continue
        ours = "; ".join(
            f"{name}: {', '.join(_small_difference(record, row) for row in rows)}"
            for name, record in ablations.items()
        )
        files = [_from_ablation(record) for record in ablations.values()]
        yield _said(about, ours, "measured", "; ".join(["in miniature", *files, how]))
    text = "Table 3 in miniature: the signs of our differences beside the paper's"
    for name in MINIATURES:
        about = f"table3-{name.rpartition('table3_')[2]}", "Table 3", text, "all the same"
        record = ablations.get(name)
        if record is None:
            cost = f"aiayn ablate {name}; {len(ROWS)} rows, 3 seeds each"
            yield _said(about, "–", "not run here", cost)
            continue
        found = {measure: table3.differences(record, measure) for measure in table3.MEASURES}
        ours = "; ".join(f"in {name}: {table3.signs(rows)}" for name, rows in found.items())
        yield _said(about, ours, "measured", _from_ablation(record))


def _small_difference(record: Ablation, row: str) -> str:
    nats, bleu = (table3.differences(record, measure)[row] for measure in table3.MEASURES)
    return f"{row} {table3.with_spread(bleu, 2)} BLEU, {table3.with_spread(nats, 3)} nats"


def _from_ablation(record: Ablation, folder: str = "ablations") -> str:
    stale = "STALE, not the settings of now: " if is_stale(record) else ""
    return f"{stale}experiments/results/{folder}/{record.file}, {ablation_origin(record)}"


def _table_4(records: Records) -> Iterator[Entry]:
    """The paper's figures of parsers and what they are said to mean; then those measured here, of
    other text, which none of the paper's compares with."""
    for row, experiment in PARSED_BY.items():
        training, score = TABLE_4[row].training, TABLE_4[row].f1
        others = ", ".join(
            f"{name} {other.f1}" + ("" if other.training == training else f" ({other.training})")
            for name, other in TABLE_4.items()
            if (other.training == WSJ_ONLY) == (training == WSJ_ONLY) and name != row
        )
        text = (
            f"Constituency parsing, 4 layers, {training}: F1 on section 23 of the WSJ, where "
            f"others have: {others}"
        )
        about = f"parsing-{training.split()[0].lower()}", "Table 4", text, f"{score}"
        record = records.get(experiment)
        if record is None:
            why = f"make train EXPERIMENT={experiment}; {_WHY_NOT_PARSED[training]}"
            yield _said(about, "–", "not run here", why)
        else:
            yield _measured(about, record, _score("wsj23", "f1", averaged=True))
    text = "WSJ only: the 4 layers do better than all parsers before them but one grammar of RNNs"
    about = "parsing-beats-all-but-one", "§6.3", text, "all but Dyer et al. (2016)"
    yield _arithmetic(about, recipe_checks.parsers_beaten)
    text = "The Transformer is better than the Berkeley parser even from the WSJ alone"
    about = "parsing-beats-berkeley", "§6.3", text, "better than Petrov et al. (2006)"
    yield _arithmetic(about, recipe_checks.berkeley_parser_beaten)
    for name, record in records.items():
        if record.config.get("task") != "parsing" or name in PARSED_BY.values():
            continue
        for test_set in record.scores:
            text = f"A parser here, of other text: {name}, F1 on {test_set}"
            about = f"parsing-here-{name}-{test_set}", "§6.3", text, "– (other text)"
            score = _score(test_set, "f1", averaged=True)
            yield _measured(about, record, score, "; not comparable with Table 4")


def _parsed_text(parsed: Ablation | None) -> Entry:
    """What §6.3 finds with 17 million sentences, in small."""
    text = "Text that parsers have parsed makes a better parser"
    about = "parsing-more-text", "Table 4", text, "91.3 to 92.7"
    if parsed is None:
        how = f"aiayn ablate {parsed_text.NAME} --set data.folder=DIR; a few thousand sentences"
        return _said(about, "–", "not run here", how)
    ours = ", ".join(
        f"{table3.with_spread(found, 2)} F1 from {parsed_text.ROWS[row].removeprefix('and ')}"
        for row, found in table3.differences(parsed, "bleu").items()
    )
    how = f"of small treebanks: {_from_ablation(parsed, 'parsed_text')}"
    return _said(about, ours, "measured", how)


def _rest() -> Iterator[Entry]:
    text = "Heads of layer 5 of 6 follow distant dependencies and anaphora"
    yield _said(
        ("figures", "Figures 3–5", text, "three pictures"),
        "pictures of the same form, of any layer and head of a model of one's own",
        "differs",
        "the paper's weights were never released; aiayn attention --help tells how",
    )


_WHY_NOT_PARSED = {
    WSJ_ONLY: "the treebank is licensed, and not at hand",
    "semi-supervised": "17 million trees of other parsers were never published",
}


def _gpt(pretraining: Ablation | None) -> Iterator[Entry]:
    """What Radford et al. (2018) claim of the decoder alone."""
    for id, section, text, paper, check in (
        (
            *("gpt-sizes", "4.1", "The model: layers, width, heads, inner width"),
            *("12, 768, 12, 3,072", gpt_checks.sizes),
        ),
        (
            *("gpt-parameters", "4.1", "Parameters at its 40,478 pieces and 512 positions"),
            *("117 million", gpt_checks.parameters),
        ),
        (
            *("gpt-block", "3.1", "h₀ = UW_e + W_p, blocks as in the decoder, softmax(hW_eᵀ)"),
            *("eq. 2", gpt_checks.block),
        ),
        (
            *("gpt-causal", "3.1", "A word is predicted from those before it alone"),
            *("eq. 1", gpt_checks.causality),
        ),
        (
            *("gpt-gelu", "4.1", "The activation is GELU"),
            *("GELU", gpt_checks.gelu),
        ),
    ):
        yield _checked((id, f"GPT-1 §{section}", text, paper), check)
    text = "Logits, gradients, updates and greedy words are those of its weights' own code"
    how = "make parity ARGS='-k gpt': beside Hugging Face's, of random weights; minutes"
    yield _said(("gpt-parity", "GPT-1 §3.1", text, "equal"), "–", "not run here", how)
    text = "Perplexity per token on BooksCorpus"
    how = "the corpus is not given out any more; other text has other perplexities"
    yield _said(("gpt-perplexity", "GPT-1 §4.1", text, "18.4"), "–", "not run here", how)
    for id, section, text, paper, ours in (
        (
            *("gpt-pretraining", "5", "Without pre-training the mean of its tasks is lower"),
            *("by 14.8 points", _by_pairs),
        ),
        (
            *("gpt-layers", "5", "Every layer that is moved helps"),
            *("up to 9 points", _by_layers),
        ),
    ):
        about = id, f"GPT-1 §{section}", text, paper
        if pretraining is None:
            how = (
                f"aiayn ablate {transfer.NAME} --set data.folder=DIR; translators, not classifiers"
            )
            yield _said(about, "–", "not run here", how)
        else:
            how = f"of translators: {_from_ablation(pretraining, 'pretraining')}"
            yield _said(about, ours(pretraining), "measured", how)


def _by_pairs(record: Ablation) -> str:
    """The difference in BLEU with all layers moved, by the number of pairs."""
    whole, bleu = record.config["model"]["num_layers"], transfer.differences(record, "bleu")
    return ", ".join(
        f"{about.changes['data.limit']:,} pairs: {table3.with_spread(bleu[row], 2)} BLEU"
        for row, about in record.rows.items()
        if about.changes.get(transfer.LAYERS) == whole
    )


def _by_layers(record: Ablation) -> str:
    """The difference in BLEU by the layers moved, from the fewest pairs."""
    found = transfer.by_layers(record)
    text = ", ".join(f"{n}: {table3.with_spread(each, 2)}" for n, each in found.items())
    return f"BLEU by layers moved, {text}"
