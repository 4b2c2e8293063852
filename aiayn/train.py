"""A run from a config to a trained model: data, state, restore, loop (§5).

Which state wins: the newest intact checkpoint of the run directory; newer ones that are damaged
are set aside, and said. What `metrics.jsonl` says of later steps is cut off, since those steps run
again, and give the same numbers. SIGTERM, by which machines are taken away, has the present step
saved in `interrupted/`, apart from the checkpoints that are kept and averaged: these are the same
however often a run was stopped.

Of several processes all run this, and take the same turns; the first alone writes, but for
checkpoints, which Orbax has all of them write together.
"""

import json
import math
import multiprocessing
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.experimental.multihost_utils import reached_preemption_sync_point
from jax.sharding import Mesh
from rich.console import Console
from sacrebleu.metrics.bleu import BLEU
from tensorboard.summary import Writer

from aiayn import hosts
from aiayn.checkpoint import Checkpoints, Model, set_aside_damaged
from aiayn.complexity import matmul_flops
from aiayn.config import Experiment
from aiayn.decode import Translator
from aiayn.errors import Preempted, UserError
from aiayn.files import user_os_errors, write_text
from aiayn.model import Transformer
from aiayn.optim import learning_rate, optimizer
from aiayn.prepare import Prepared
from aiayn.progress import TrainingProgress, self_check
from aiayn.replay import keep, look
from aiayn.report import peak_flops, read_metrics
from aiayn.rows import Layout, Rows, Updates, batches, read_ahead
from aiayn.run import NOT_FINITE, begin_session, check_run, open_run
from aiayn.step import (
    Metrics,
    TrainState,
    abstract_state,
    build,
    data_mesh,
    initial_state,
    mapped_evaluation_step,
    mapped_train_step,
    one_copy,
    refuse_slow_scatter,
    replicated,
    sharded,
)

T = TypeVar("T")


def train(experiment: Experiment, run_dir: Path, prepared: Prepared, console: Console) -> None:
    """Train up to `train.num_steps`, from the newest checkpoint of `run_dir` if there is one.

    Raises:
        UserError: the directory holds another experiment, or a run past `train.num_steps`; or
            MOST_IN_A_ROW updates or the loss on dev are not finite; or the devices are refused, see
            `refuse_slow_scatter`.
        Preempted: SIGTERM came; the same call goes on from the step it came in.
    """
    refuse_slow_scatter(jax.devices()[0].client.platform_version, version("jaxlib"))
    check_run(experiment, run_dir, prepared)
    config, folder = experiment.train, run_dir / "interrupted"
    _set_aside_damaged(run_dir, console)
    with (
        _sigterm() as asked,  # around the rest, whose end waits for what is being written
        closing(
            Checkpoints(run_dir / "checkpoints", config.keep_last, config.keep_best)
        ) as checkpoints,
        closing(Checkpoints(folder)) as interrupted,
    ):
        _train(experiment, run_dir, prepared, console, checkpoints, interrupted, asked)
    if hosts.first():
        for rest in (folder, run_dir / NOT_FINITE):
            shutil.rmtree(rest, ignore_errors=True)


def _set_aside_damaged(run_dir: Path, console: Console) -> None:
    for name in ("checkpoints", "interrupted") if hosts.first() else ():
        aside = run_dir / "damaged" / name
        keep_one = name == "checkpoints"  # what is lost with the other is little
        for damage in set_aside_damaged(run_dir / name, aside, keep_one):
            console.print(f"{damage} Its checkpoint lies in {aside} now.")
    hosts.wait_for_all()


MOST_IN_A_ROW = 10
"""Updates that may have a loss or a gradient that is not finite before training gives up."""
_ADVICE = (
    "A run from the start may go well with a lower train.learning_rate_constant or a longer "
    "train.warmup_steps."
)


def _train(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    console: Console,
    checkpoints: Checkpoints,
    interrupted: Checkpoints,
    asked: Callable[[int], bool],
) -> None:
    config = experiment.train
    stopped_at = max((n for n in interrupted.steps() if n <= config.num_steps), default=0)
    between = checkpoints.newest() < stopped_at
    newest = interrupted if between else checkpoints
    start = max(stopped_at, checkpoints.newest())
    hosts.check_same(f"newest step in {run_dir}", start)
    if start > config.num_steps:
        raise UserError(
            f"{run_dir} is at step {start:,} already; train.num_steps is {config.num_steps:,}. "
            "Ask for as many or more, or choose another directory."
        )
    if hosts.first():
        open_run(experiment, run_dir, prepared)
    if checkpoints.newest() == config.num_steps:
        return
    if hosts.first():
        begin_session(experiment, run_dir, start)

    # Data: the rows of every update follow from seed and step.
    mesh = data_mesh()
    updates = Updates(
        prepared.train,
        config.seed,
        experiment.data.src_tokens_per_update + experiment.data.tgt_tokens_per_update,
        prepared.tokenizer.bos,
    )

    def layout_of(step: int) -> Layout:
        chosen, _ = updates.choose(step)
        return updates.layout(chosen, mesh.size, config.slots_per_device)

    def rows_on_devices(step: int) -> tuple[Layout, Rows]:
        layout = layout_of(step)
        mine = hosts.share(layout.rows_per_round)
        return layout, sharded(updates.rows(step, layout, mine), mesh, axis=1)

    # Model and optimiser.
    num_words = prepared.tokenizer.num_words
    graphdef = build(experiment.model, num_words)
    adam = optimizer(experiment.model, config)
    update = mapped_train_step(graphdef, config, adam, mesh)
    key = jax.random.key(config.seed)

    if start:
        like = abstract_state(experiment.model, num_words, adam, mesh)
        state = newest.restore(start, like)
        console.print(f"Resuming from step {start:,} of {config.num_steps:,}.")
    else:
        state = replicated(initial_state(experiment.model, num_words, config.seed, adam), mesh)
    log = _Log(run_dir, experiment)
    log.cut_after(start, validated=not between)
    self_check(experiment, prepared, updates, console)
    validate = _validator(experiment, prepared, graphdef, mesh)

    def due(step: int) -> bool:
        return step % config.checkpoint_every == 0 or step == config.num_steps

    def stopped(step: int) -> Preempted:
        return Preempted(f"SIGTERM came; step {step:,} of {config.num_steps:,} is saved.")

    def keep_checkpoint(step: int) -> None:
        """Validate first. SIGTERM ends that, where there is one process: several ask together."""

        def go_on() -> None:
            if jax.process_count() == 1 and asked(step):
                raise stopped(step)

        progress.say("validating")
        try:
            found = validate(state, go_on)
        except Preempted:
            if step not in interrupted.steps():
                interrupted.save(state, experiment, prepared.tokenizer)
            raise
        progress.show(log.write_validation(step, found))
        checkpoints.save(state, experiment, prepared.tokenizer, found["dev_loss"])

    # Of several processes one that was told before it asked for the first time stops at step 1.
    if asked(1) or asked(start):
        raise Preempted(f"SIGTERM came at step {start:,} of {config.num_steps:,}.")

    # Loop.
    progress = TrainingProgress(console, config.num_steps, start)
    with closing(log), progress:
        pending: list[Metrics] = []
        if between and due(start):
            keep_checkpoint(start)
        ahead = read_ahead(rows_on_devices, start, config.num_steps)
        for step, (layout, rows) in enumerate(log.timed(ahead, pending), start + 1):
            state, metrics = update(state, rows, key)
            pending.append(metrics)
            log.count_slots(layout, rows)
            progress.advance()
            if step % config.log_every == 0 or due(step):
                progress.show(log.write(step, pending))
                pending.clear()
                if log.in_a_row >= MOST_IN_A_ROW:
                    last_good = step - log.in_a_row
                    state = state._replace(step=replicated(np.int32(last_good), mesh))
                    rows = updates.rows(last_good, layout_of(last_good))
                    raise _gives_up(experiment, run_dir, prepared, state, rows)
            if due(step):
                keep_checkpoint(step)
            stop = asked(step)
            if stop and not due(step):
                if pending:
                    log.write(step, pending)
                interrupted.save(state, experiment, prepared.tokenizer)
            if stop:
                raise stopped(step)


def _gives_up(
    experiment: Experiment, run_dir: Path, prepared: Prepared, state: TrainState, rows: Rows
) -> UserError:
    """Keep the first of the updates that were not finite, and say what is known of it.

    `state` is what that update changed nothing of, `rows` are all that it read.
    """
    text = (
        f"The loss or the gradient was not finite in {MOST_IN_A_ROW} steps in a row, the first of "
        f"them {int(state.step) + 1:,}; none was applied. {_ADVICE}"
    )
    keep(run_dir / NOT_FINITE, state, rows, experiment, prepared.tokenizer)
    again = f"`aiayn replay {run_dir}` computes it again."
    lines: list[str] = []
    if hosts.first():
        lines = list(look(experiment, prepared.tokenizer.num_words, state, rows))
    hosts.wait_for_all()
    return UserError("\n".join([text, *lines, again]))


@contextmanager
def _sigterm() -> Generator[Callable[[int], bool]]:
    """Whether to stop after a step; SIGTERM does nothing until the end, where Preempted answers it.

    A normal end sends it again, to do what it did before; an error says more than it. A worker ends
    by it all the same: nobody waits for what it has to say, and its pool would wait for it. Only a
    main thread can put it off. Of several processes JAX has caught it since they met, and they
    agree on the step, which each must ask about once.
    """
    came: list[None] = []  # handlers nest, so no lock
    if jax.process_count() > 1:
        yield reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: bool(came)
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(None))
    answered = False
    try:
        yield lambda step: bool(came)
    except BaseException as error:
        answered = isinstance(error, Preempted) or multiprocessing.parent_process() is None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if came and not answered:
            signal.raise_signal(signal.SIGTERM)


def _validator(
    experiment: Experiment,
    prepared: Prepared,
    graphdef: nnx.GraphDef[Transformer],
    mesh: Mesh,
) -> Callable[[TrainState, Callable[[], None]], dict[str, float]]:
    """A function from a state to `dev_loss` (nats per token), `dev_perplexity` and `dev_bleu`.

    Rows are shared out to devices, sentences to processes. BLEU is sacreBLEU of greedy translations
    of the first sentences of dev: really decoded, not teacher-forced. A state whose `dev_loss` is
    not finite is a UserError: it is not worth keeping. Its other argument is called after each
    batch, and may end it.
    """
    config = experiment.train
    evaluate = mapped_evaluation_step(graphdef, mesh)
    slots = config.slots_per_device * mesh.size
    src = prepared.lines("dev", "src")[: config.validate_sentences]
    references = prepared.lines("dev", "tgt")[: config.validate_sentences]
    metric = BLEU()
    greedy = replace(experiment.decode, beam_size=1)

    def validate(state: TrainState, go_on: Callable[[], None]) -> dict[str, float]:
        total, count = 0.0, 0
        for rows in batches(prepared.dev, slots, prepared.tokenizer.bos, mesh.size):
            mine = Rows(*(field[hosts.share(len(field))] for field in rows))
            loss, tokens = evaluate(state.params, sharded(mine, mesh, axis=0))
            total, count = total + float(loss), count + int(tokens)
            go_on()
        if not math.isfinite(total):
            raise UserError(
                f"The loss on dev is {total} after step {int(state.step):,}, which is not kept; "
                f"earlier checkpoints are. {_ADVICE}"
            )
        found = {"dev_loss": total / count, "dev_perplexity": math.exp(min(total / count, 50.0))}
        if src:
            model = Model(experiment, prepared.tokenizer, {})
            translator = Translator(model, greedy, params=one_copy(state.params))
            translate = partial(translator.best, on_done=lambda _: go_on())
            hypotheses = hosts.shared_out(translate, src)
            found["dev_bleu"] = metric.corpus_score(hypotheses, [references]).score
        return found

    return validate


class _Log:
    """`metrics.jsonl` and TensorBoard events of a run, which the first process writes."""

    def __init__(self, run_dir: Path, experiment: Experiment):
        self.path = run_dir / "metrics.jsonl"
        self.experiment = experiment
        self.peak = peak_flops()
        self.writer = Writer(str(run_dir / "tensorboard")) if hosts.first() else None
        self.slots = 0
        self.waited = 0.0
        self.seconds = 0.0
        self.tokens = 0
        self.in_a_row = 0
        """Updates that were not finite, since the last one that was."""
        self.began = time.perf_counter()

    def cut_after(self, step: int, validated: bool) -> None:
        """Forget what is about to come again: steps past the restored one, its own validation."""
        rows = [row for row in read_metrics(self.path) if row["step"] <= step]
        if not validated:
            rows = [row for row in rows if row["step"] < step or "dev_loss" not in row]
        if self.writer:
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self.seconds = max((row["seconds"] for row in rows), default=0.0)
        self.tokens = max((row.get("tokens", 0) for row in rows), default=0)
        self.began = time.perf_counter()

    def timed(self, items: Iterator[T], pending: Sequence[Metrics]) -> Iterator[T]:
        """The same; counts the seconds for which the devices too may have waited for an item."""
        while True:
            began = time.perf_counter()
            item = next(items, None)
            if item is None:
                return
            if not pending or pending[-1].loss.is_ready():  # pyright: ignore[reportAttributeAccessIssue]
                self.waited += time.perf_counter() - began
            yield item

    def count_slots(self, layout: Layout, rows: Rows) -> None:
        num_rows = layout.num_accumulated * layout.rows_per_round
        self.slots += num_rows * (rows.src_BS.shape[-1] + rows.tgt_in_BT.shape[-1])

    def write(self, step: int, pending: list[Metrics]) -> dict[str, Any]:
        """One row for the updates since the last; waits for the device.

        An update that is not finite was not applied: the row counts it as `skipped` and leaves it
        out of the means of loss and gradient.
        """
        each = Metrics(*np.transpose(jax.device_get(pending)))
        now = time.perf_counter()
        elapsed, self.began = now - self.began, now
        finite = np.isfinite(each.loss) & np.isfinite(each.grad_norm)
        if finite.any():
            self.in_a_row = int(np.argmax(finite[::-1]))  # updates after the last finite one
        else:
            self.in_a_row += len(finite)
        tokens = int((each.src_tokens + each.tgt_tokens).sum())
        self.seconds += elapsed
        self.tokens += tokens
        config = self.experiment
        rate = learning_rate(
            step,
            config.model.d_model,
            config.train.warmup_steps,
            config.train.learning_rate_constant,
        )
        row: dict[str, Any] = {
            "step": step,
            "learning_rate": float(rate),
            "src_tokens_per_update": float(each.src_tokens.mean()),
            "tgt_tokens_per_update": float(each.tgt_tokens.mean()),
            "tokens_per_second": tokens / elapsed,
            "tgt_tokens_per_second": float(each.tgt_tokens.sum()) / elapsed,
            "padding": 1.0 - tokens / self.slots,
            "waiting_for_rows": self.waited / elapsed,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }
        if finite.any():
            count = each.tgt_tokens[finite].sum()
            row["loss"] = float(each.loss[finite].sum() / count)
            row["perplexity"] = math.exp(min(float(each.plain_loss[finite].sum() / count), 50.0))
            row["grad_norm"] = float(each.grad_norm[finite].mean())
        if not finite.all():
            row["skipped"] = int((~finite).sum())
        self.slots, self.waited = 0, 0.0
        if self.peak:
            words = config.data.vocab_size
            flops = 3 * matmul_flops(
                config.model, words, int(each.src_tokens.sum()), int(each.tgt_tokens.sum())
            )
            row["mfu"] = flops / elapsed / self.peak
        self._append(row)
        return row

    def write_validation(self, step: int, found: dict[str, float]) -> dict[str, Any]:
        now = time.perf_counter()
        self.seconds += now - self.began
        self.began = now
        row = {"step": step, **found, "seconds": self.seconds}
        self._append(row)
        return row

    def _append(self, row: dict[str, Any]) -> None:
        if not self.writer:
            return
        with user_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name != "step":
                self.writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        if self.writer:
            self.writer.close()
