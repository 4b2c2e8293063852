"""The face of a run in the terminal: the table at its start and one line that moves."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from aiayn.config import Experiment, ModelConfig
from aiayn.data.prepare import Prepared
from aiayn.data.text import one_line
from aiayn.data.updates import Updates
from aiayn.model.structure import count_parameters
from aiayn.training.optim import learning_rate


def self_check(
    experiment: Experiment, prepared: Prepared, updates: Updates, console: Console
) -> None:
    """Show the run that is about to start, each figure beside that of the paper's base model."""
    data, model, config = experiment.data, experiment.model, experiment.train
    train = prepared.train
    src_tokens = sum(c.src_tokens for c in train.classes)
    tgt_tokens = sum(c.tgt_tokens for c in train.classes)
    slots = sum(c.num_rows * (c.src_width + c.tgt_width) for c in train.classes)
    num_words = prepared.tokenizer.num_words
    peak = learning_rate(
        config.warmup_steps, model.d_model, config.warmup_steps, config.learning_rate_constant
    )
    paper = ModelConfig()
    table = Table(title=f"{experiment.name}  (preset {experiment.preset})", title_justify="left")
    table.add_column("")
    table.add_column("this run", justify="right")
    table.add_column("paper, base", justify="right")
    kept = f"{prepared.manifest.splits['train'].kept:,}"
    if data.src:
        rows = [
            ("direction", f"{data.src} to {data.tgt}", "en to de"),
            ("sentence pairs", kept, "about 4,500,000"),
            ("source tokens per update", f"{src_tokens / updates.per_epoch:,.0f}", "about 25,000"),
        ]
    else:
        rows = [("language", data.tgt, "en to de"), ("documents", kept, "")]
    rows += [
        ("target tokens per update", f"{tgt_tokens / updates.per_epoch:,.0f}", "about 25,000"),
        ("words in the shared vocabulary", f"{num_words:,}", "about 37,000"),
        ("parameters", f"{count_parameters(model, num_words):,}", "65,000,000"),
        (
            "layers, d_model, d_ff, heads",
            f"{model.num_layers}, {model.d_model}, {model.d_ff}, {model.num_heads}",
            f"{paper.num_layers}, {paper.d_model}, {paper.d_ff}, {paper.num_heads}",
        ),
        ("dropout, label smoothing", f"{model.dropout_rate}, {config.label_smoothing}", "0.1, 0.1"),
        ("slots that hold a token", f"{(src_tokens + tgt_tokens) / slots:.1%}", ""),
        ("peak learning rate", f"{float(peak):.3g}", "0.000699"),
        ("warm-up, steps", f"{config.warmup_steps:,}, {config.num_steps:,}", "4,000, 100,000"),
        ("epochs", f"{config.num_steps / updates.per_epoch:.1f}", ""),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    dropped = {**prepared.manifest.splits["train"].dropped}
    if train.too_long:
        dropped[f"over {data.max_tokens} tokens"] = train.too_long
    if dropped:
        text = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        console.print(f"Left out of {prepared.manifest.splits['train'].read:,} pairs read: {text}.")
    if prepared.dev.too_long:
        console.print(f"Left out of dev: {prepared.dev.too_long:,} pairs too long for any row.")
    console.print("The first pairs:" if data.src else "How the first documents begin:")
    for src, tgt in prepared.first_pairs(3):
        if data.src:
            console.print(f"  {data.src}  {src}")
        console.print(f"  {data.tgt}  {one_line(tgt[:200])}")


class TrainingProgress:
    """A bar with the figures below it in a terminal; elsewhere a plain line per report."""

    def __init__(self, console: Console, num_steps: int, start: int):
        self._console = console
        self._num_steps = num_steps
        self._texts: dict[str, str] = {}
        self._bar = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("train", total=num_steps, completed=start)
        self._live = Live(console=console, get_renderable=self._renderable)
        self.say("compiling")

    def _renderable(self) -> Group:
        return Group(self._bar, *(Text(text) for text in self._texts.values()))

    def advance(self) -> None:
        """Count one more update."""
        self._bar.advance(self._task)

    def say(self, text: str) -> None:
        """Show a word about work other than updates, until the next figures."""
        self._texts["now"] = text

    def show(self, row: Mapping[str, Any]) -> None:
        """The figures of a row of `metrics.jsonl`; those of the last validation stay."""
        kind, text = _describe(row)
        self._texts.pop("now", None)
        self._texts[kind] = text
        if not self._console.is_terminal:
            minutes = f"{row['seconds'] / 60:.1f} min"
            line = f"step {row['step']:,}/{self._num_steps:,}  {minutes}  {text}"
            self._console.print(line)

    def __enter__(self) -> "TrainingProgress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()


def _describe(row: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of a row of `metrics.jsonl` (train or dev), and its figures as text."""
    if "dev_loss" in row:
        figures = {"BLEU": "dev_bleu", "F1": "dev_f1"}
        said = (f"  dev {name} {row[key]:.1f}" for name, key in figures.items() if key in row)
        return "dev", f"dev ppl {row['dev_perplexity']:.2f}{''.join(said)}"
    loss = f"loss {row['loss']:.3f}  ppl {row['perplexity']:.2f}  " if "loss" in row else ""
    mfu = f"  MFU {row['mfu']:.1%}" if "mfu" in row else ""
    skipped = f"  {row['skipped']} not finite, left out" if "skipped" in row else ""
    share = row.get("waiting_for_rows", 0.0)
    waiting = f"  {share:.0%} waiting for rows" if share > 0.01 else ""
    return "train", (
        f"{loss}lr {row['learning_rate']:.2e}  {row['tokens_per_second']:,.0f} tok/s  "
        f"padding {row['padding']:.1%}{mfu}{waiting}{skipped}"
    )
