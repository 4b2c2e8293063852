"""Every claim of the paper that can be checked, beside what this repository has to show for it.

`holds` and `fails` are computations that run now (`checks`), `measured` comes from the record of a
run, `differs` gives its reason, `not run here` the command and its cost. No value is typed: the
paper's come from `paper`, ours from code and records.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from aiayn import checks
from aiayn.config import load_experiment
from aiayn.paper import (
    BASE,
    BIG,
    ENFR_BIG_BLEU_IN_PROSE,
    NUM_GPUS,
    PARSING_F1,
    TABLE_2,
    TABLE_3,
    TOKENS_PER_UPDATE,
    TRAINING,
)
from aiayn.results import hardware_text, is_stale, load_records

Status = Literal["holds", "fails", "measured", "differs", "not run here"]
Records = Mapping[str, Mapping[str, Any]]
"""The records of runs, by experiment."""


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


def ledger(folder: Path, on_claim: Callable[[str], None] = lambda id: None) -> list[Claim]:
    """All claims, in the order of the paper; `folder` holds the records.

    `on_claim` is called with the id of each claim that is about to be checked.
    """
    records = {record["experiment"]: record for record in load_records(folder)}
    claims: list[Claim] = []
    for part in (_architecture, _table_1, _training, _table_2, _table_3, _rest):
        for make in part(records):
            on_claim(make.keywords["id"])
            claims.append(make())
    return claims


# --- How a claim is decided ---------------------------------------------------------------------


Made = partial[Claim]
"""A claim that is decided when it is called; its id is among the keywords."""


def _checked(
    check: Callable[[], checks.Found],
    *,
    id: str,
    section: str,
    text: str,
    paper: str,
    differs: str = "",
) -> Claim:
    """Run the check now. Where it does not hold, `differs` is the reason that is known for it."""
    function = check.func if isinstance(check, partial) else check
    how = f"aiayn.checks.{getattr(function, '__name__', '')}, run now"
    try:
        found = check()
    except Exception as error:  # a check that breaks is a claim that fails, and is shown as such
        found = checks.Found(f"{type(error).__name__}: {error}", holds=False)
    if found.holds:
        status: Status = "holds"
    else:
        status = "differs" if differs else "fails"
        how = f"{differs} ({how})" if differs else how
    return Claim(id, section, text, paper, found.ours, status, how)


def _check(check: Callable[[], checks.Found], **about: str) -> Made:
    return partial(_checked, check, **about)


def _said(status: Status, **about: str) -> Made:
    return partial(Claim, status=status, **about)


def _from_run(
    records: Records,
    experiment: str,
    value: Callable[[Mapping[str, Any]], str],
    size: str,
    **about: str,
) -> Made:
    """What the record of an experiment says; else the command, and its cost by the paper."""
    record = records.get(experiment)
    if record is None:
        training = TRAINING[size]
        flops = checks.exact_flops(size)
        cost = (
            f"make train EXPERIMENT={experiment}; {flops:.1e} FLOPs of products at "
            f"{training.num_steps:,} steps, {training.hours:g} h on {NUM_GPUS} P100 in the paper"
        )
        return _said("not run here", ours="–", how=cost, **about)
    stale = "STALE, the experiment changed since: " if is_stale(record) else ""
    how = (
        f"{stale}experiments/results/{experiment}.json, commit {record['commit'][:12]}, config "
        f"{record['config_hash'][:12]}, preset {record['preset']}, seed "
        f"{record['config']['train']['seed']}, {record['seconds'] / 3_600:.1f} h on "
        f"{hardware_text(record)}"
    )
    return _said("measured", ours=value(record), how=how, **about)


def _score(test_set: str, name: str, averaged: bool) -> Callable[[Mapping[str, Any]], str]:
    """A figure of a record with its signature: of the averaged model, or the last checkpoint's."""

    def value(record: Mapping[str, Any]) -> str:
        rows = list(record["scores"][test_set].values())
        entry = next(e for e in rows[-1 if averaged else 0]["entries"] if e["name"] == name)
        return f"{entry['value']:.2f} ({entry['how']})"

    return value


# --- The ledger ---------------------------------------------------------------------------------


def _architecture(_: Records) -> Iterator[Made]:
    section = "§3.1"
    yield _check(
        checks.stacks,
        id="layers",
        section=section,
        text="Encoder and decoder are stacks of N layers",
        paper="N = 6",
    )
    yield _check(
        checks.post_norm,
        id="post-norm",
        section=section,
        text="The output of each sublayer is LayerNorm(x + Sublayer(x))",
        paper="after the sum",
    )
    yield _check(
        checks.widths,
        id="d_model",
        section=section,
        text="All sublayers and the embeddings produce outputs of d_model",
        paper="512",
    )
    yield _check(
        checks.causality,
        id="causal-mask",
        section=section,
        text="A prediction depends on earlier outputs only: the mask",
        paper="positions < i",
    )
    yield _check(
        checks.shift,
        id="shift",
        section=section,
        text="A prediction depends on earlier outputs only: outputs enter offset by one",
        paper="one position",
    )
    section = "§3.2.1"
    yield _check(
        checks.scaled_dot_product,
        id="attention",
        section=section,
        text="Attention(Q, K, V) = softmax(QKᵀ/√d_k)V",
        paper="eq. 1",
    )
    yield _check(
        checks.masking,
        id="masking",
        section="§3.2.3",
        text="Illegal connections are masked with −∞ before the softmax",
        paper="weight 0",
    )
    yield _check(
        checks.dot_variance,
        id="variance",
        section=section,
        text="Without the scale, dot products of random vectors have a variance of d_k",
        paper="d_k",
    )
    section = "§3.2.2"
    yield _check(
        checks.heads,
        id="heads",
        section=section,
        text="Parallel heads of d_model/h",
        paper="h = 8, d_k = d_v = 64",
    )
    yield _check(
        checks.multi_head_cost,
        id="multi-head-cost",
        section=section,
        text="All heads cost about as much as a single one of full width",
        paper="similar",
    )
    yield _check(
        checks.three_uses,
        id="three-uses",
        section="§3.2.3",
        text="Attention is used in three ways: encoder, decoder, between them",
        paper="6, 6 and 6",
    )
    yield _check(
        checks.feed_forward,
        id="feed-forward",
        section="§3.3",
        text="FFN(x) = max(0, xW₁ + b₁)W₂ + b₂, at each position alike",
        paper="eq. 2, d_ff = 2,048",
    )
    yield _check(
        checks.shared_matrix,
        id="shared-matrix",
        section="§3.4",
        text="Both embeddings and the last linear map share a matrix, embeddings times √d_model",
        paper="one matrix",
    )
    section = "§3.5"
    yield _check(
        checks.sinusoid_formula,
        id="positions",
        section=section,
        text="PE(pos, 2i) = sin(pos/10000^(2i/d_model)), PE(pos, 2i+1) the cosine",
        paper="formula",
    )
    yield _check(
        checks.wavelengths,
        id="wavelengths",
        section=section,
        text="Wavelengths form a geometric progression",
        paper="2π to 10000·2π",
        differs="By the paper's own formula the last i is d_model/2−1, which falls short of 10000",
    )
    yield _check(
        checks.relative_positions,
        id="relative-positions",
        section=section,
        text="PE(pos+k) is a linear function of PE(pos) for any fixed k",
        paper="linear",
    )


_COMPLEXITY = {
    "self-attention": ("O(n²·d)", "O(1)", "O(1)"),
    "recurrent": ("O(n·d²)", "O(n)", "O(n)"),
    "convolutional": ("O(k·n·d²)", "O(1)", "O(log_k(n))"),
    "self-attention (restricted)": ("O(r·n·d)", "O(1)", "O(n/r)"),
}


def _table_1(_: Records) -> Iterator[Made]:
    for name, (flops, sequence, path) in _COMPLEXITY.items():
        id = name.replace(" ", "-").strip("()").replace("(", "")
        for check, what, paper in (
            (checks.layer_flops, "complexity per layer", flops),
            (checks.layer_sequence, "sequential operations", sequence),
            (checks.layer_path, "maximum path length", path),
        ):
            yield _check(
                partial(check, name),
                id=f"table1-{id}-{what.split()[0]}",
                section="Table 1",
                text=f"{name}: {what}",
                paper=paper,
            )
    yield _check(
        checks.attention_beats_recurrence,
        id="attention-or-recurrence",
        section="§4",
        text="Self-attention layers are faster than recurrent ones when n < d",
        paper="n < d",
    )


def _training(records: Records) -> Iterator[Made]:
    section = "§5.1"
    ende, enfr = (load_experiment(f"wmt14_{pair}_base").data for pair in ("ende", "enfr"))
    yield _said(
        "not run here",
        id="pairs-ende",
        section=section,
        text="WMT14 En-De, sentence pairs",
        paper="about 4.5 million",
        ours=f"{ende.num_pairs[0]:,}",
        how="asserted when the corpus is loaded: aiayn prepare wmt14_ende_base; needs the Hub",
    )
    yield _said(
        "differs",
        id="pairs-enfr",
        section=section,
        text="WMT14 En-Fr, sentence pairs",
        paper="36 million",
        ours=f"{enfr.num_pairs[0]:,}",
        how="the paper does not say which were left out; the Hub's copy is taken whole",
    )
    yield _said(
        "differs",
        id="vocabulary-ende",
        section=section,
        text="En-De: shared byte-pair vocabulary",
        paper="about 37,000",
        ours=f"{ende.vocab_size:,}",
        how="followed, but Table 3's own counts imply 40,960 rows, and big about 35,800: see there",
    )
    yield _said(
        "differs",
        id="vocabulary-enfr",
        section=section,
        text="En-Fr: word-piece vocabulary",
        paper="32,000",
        ours=f"{enfr.vocab_size:,}",
        how="SentencePiece's byte-pair encoding rather than word pieces",
    )
    for name, record in records.items():
        data = record["config"]["data"]
        yield _said(
            "measured",
            id=f"batch-{name}",
            section=section,
            text=f"Tokens of an update, source + target; here those of {name}",
            paper=f"about {TOKENS_PER_UPDATE:,} + {TOKENS_PER_UPDATE:,}",
            ours=f"{record['src_tokens_per_update']:,.0f} + {record['tgt_tokens_per_update']:,.0f} "
            f"of {data['src_tokens_per_update']:,} + {data['tgt_tokens_per_update']:,}",
            how=f"experiments/results/{name}.json",
        )
    section = "§5.2"
    for size in ("base", "big"):
        training = TRAINING[size]
        yield _check(
            partial(checks.steps_and_hours, size),
            id=f"hours-{size}",
            section=section,
            text=f"Training of the {size} model: steps × seconds a step, on {NUM_GPUS} P100",
            paper=f"{training.hours:g} h",
        )
    section = "§5.3"
    yield _check(
        checks.adam,
        id="adam",
        section=section,
        text="Adam",
        paper="β₁ = 0.9, β₂ = 0.98, ε = 10⁻⁹",
    )
    yield _check(
        checks.schedule,
        id="schedule",
        section=section,
        text="lrate = d_model^−0.5 · min(step^−0.5, step · warmup^−1.5)",
        paper="eq. 3, warmup = 4,000",
    )
    section = "§5.4"
    yield _check(
        checks.residual_dropout,
        id="dropout",
        section=section,
        text="Dropout on the output of each sublayer and on the sums of embedding and position",
        paper="P_drop = 0.1",
    )
    yield _check(
        checks.label_smoothing,
        id="label-smoothing",
        section=section,
        text="Label smoothing",
        paper="ε_ls = 0.1",
    )
    section = "§6.1"
    yield _check(
        checks.averaging,
        id="averaging",
        section=section,
        text="The last checkpoints are averaged, base and big",
        paper="5 and 20",
    )
    yield _check(
        checks.beam,
        id="beam",
        section=section,
        text="Beam search with length penalty; output at most so much longer than the input",
        paper="beam 4, α = 0.6, input + 50",
    )
    yield _check(
        checks.counted_flops,
        id="flops-step",
        section=section,
        text="Training FLOPs of the base model for a source and a target token",
        paper="–",
    )
    for size in ("base", "big"):
        flops = TABLE_2[{"base": BASE, "big": BIG}[size]].ende_flops
        yield _check(
            partial(checks.rule_flops, size),
            id=f"flops-{size}",
            section="Table 2",
            text=f"Training cost of {size}: time × GPUs × sustained FLOP/s",
            paper=f"{flops:.1e}",
        )


def _table_2(records: Records) -> Iterator[Made]:
    section = "Table 2"
    for size, name in (("base", BASE), ("big", BIG)):
        system = TABLE_2[name]
        for pair, bleu in (("ende", system.ende_bleu), ("enfr", system.enfr_bleu)):
            experiment = f"wmt14_{pair}_{size}"
            paper = f"{bleu}"
            if experiment == "wmt14_enfr_big":
                paper += f" (§6.1 says {ENFR_BIG_BLEU_IN_PROSE})"
            yield _from_run(
                records,
                experiment,
                _score("test", "compound-split", averaged=True),
                size,
                id=f"bleu-{pair}-{size}",
                section=section,
                text=f"newstest2014 {pair[:2].title()}-{pair[2:].title()}, {name}: BLEU",
                paper=paper,
            )
    singles = {n: s for n, s in TABLE_2.items() if n not in (BASE, BIG)}
    best = max(singles.values(), key=lambda system: system.ende_bleu or 0.0)
    ours, theirs = TABLE_2[BIG].ende_bleu, best.ende_bleu
    assert ours is not None
    assert theirs is not None
    yield _said(
        "not run here",
        id="beats-all",
        section="§6.1",
        text="En-De big is better than the best model before it, ensembles included, by",
        paper=f"over 2.0 BLEU ({ours} − {theirs} = {ours - theirs:.2f})",
        ours="–",
        how="follows from wmt14_ende_big, see there; the others' figures are the paper's citations",
    )


def _table_3(records: Records) -> Iterator[Made]:
    section = "Table 3"
    names = {"base": "wmt14_ende_base", "big": "wmt14_ende_big"}
    for row, variant in TABLE_3.items():
        experiment = names.get(row, f"table3_{row.lower()}")
        size = "big" if row == "big" else "base"
        if variant.parameters is not None:
            yield _check(
                partial(checks.parameters, row),
                id=f"parameters-{row}",
                section=section,
                text=f"{row}: parameters, at 40,960 words",
                paper=f"{variant.parameters} million",
                differs="" if row != "big" else "no vocabulary gives base 65 and big 213 million",
            )
        yield _from_run(
            records,
            experiment,
            lambda record: f"{record['dev']['dev_perplexity']:.2f}",
            size,
            id=f"perplexity-{row}",
            section=section,
            text=f"{row}: perplexity on newstest2013",
            paper=f"{variant.perplexity:.2f}",
        )
        yield _from_run(
            records,
            experiment,
            _score("dev", "compound-split", averaged=False),
            size,
            id=f"bleu-{row}",
            section=section,
            text=f"{row}: BLEU on newstest2013, not averaged",
            paper=f"{variant.bleu}",
        )
    best = max(TABLE_3[row].bleu for row in ("base", "A1", "A2", "A3", "A4"))
    for id, text, rows in (
        ("one-head", "A single head is worse than the best number of heads", ("A1",)),
        ("many-heads", "Quality drops with too many heads", ("A4",)),
        ("small-keys", "Smaller keys hurt", ("B1", "B2")),
        ("bigger-better", "Bigger models are better", ("C5", "C7")),
        ("dropout-helps", "Dropout avoids over-fitting", ("D1",)),
        ("learned-positions", "Learned positions do nearly as well", ("E",)),
    ):
        against = best if id.endswith("heads") or id == "one-head" else TABLE_3["base"].bleu
        deltas = ", ".join(f"{row} {TABLE_3[row].bleu - against:+.1f} BLEU" for row in rows)
        commands = " and ".join(f"table3_{row.lower()}" for row in rows)
        yield _said(
            "not run here",
            id=id,
            section="§6.2",
            text=text,
            paper=deltas,
            ours="–",
            how=f"needs {commands} and wmt14_ende_base, see there",
        )


def _rest(_: Records) -> Iterator[Made]:
    for setting, score in PARSING_F1.items():
        yield _said(
            "not run here",
            id=f"parsing-{setting.split()[0].lower()}",
            section="Table 4",
            text=f"Constituency parsing, 4 layers, {setting}: F1 on section 23 of the WSJ",
            paper=f"{score}",
            ours="–",
            how="§6.3 is not built; its treebank is licensed",
        )
    yield _said(
        "differs",
        id="figures",
        section="Figures 3–5",
        text="Heads of layer 5 of 6 follow distant dependencies and anaphora",
        paper="three pictures",
        ours="pictures of the same form, of any layer and head of a model of one's own",
        how="the paper's weights were never released; aiayn attention --help tells how",
    )


def counts(claims: Sequence[Claim]) -> dict[Status, int]:
    """How many claims have each status."""
    every: tuple[Status, ...] = ("holds", "measured", "differs", "not run here", "fails")
    return {status: sum(claim.status == status for claim in claims) for status in every}
