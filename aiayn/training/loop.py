"""A run from a config to a trained model: data, state, restore, loop (§5).

Which state wins: the newest intact checkpoint of the run directory; newer ones that are damaged
are set aside, and said. What `metrics.jsonl` says of later steps is cut off, since those steps run
again, and give the same numbers. SIGTERM, by which machines are taken away, has the present step
saved in `interrupted/`, apart from the checkpoints that are kept and averaged: these are the same
however often a run was stopped.

Of several processes all run this, and take the same turns; the first alone writes, but for
checkpoints, which Orbax has all of them write together.
"""

import shutil
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared
from aiayn.data.rows import Rows
from aiayn.data.updates import Layout, Updates, read_ahead
from aiayn.errors import Preempted, UserError
from aiayn.model.structure import build
from aiayn.model.transformer import Transformer
from aiayn.system import hosts
from aiayn.system.signals import sigterm_asked
from aiayn.training.checkpoint import Checkpoints, set_aside_damaged
from aiayn.training.log import Log
from aiayn.training.mesh import (
    data_mesh,
    mapped_train_step,
    refuse_slow_scatter,
    replicated,
    sharded,
)
from aiayn.training.optim import optimizer
from aiayn.training.progress import TrainingProgress, self_check
from aiayn.training.replay import keep, look
from aiayn.training.run_folder import NOT_FINITE, begin_session, check_run, open_run
from aiayn.training.step import Metrics, TrainState, abstract_state, initial_state

Validate = Callable[[TrainState, Callable[[], None]], dict[str, float]]
"""From a state to `dev_loss` (nats per token) and other scores of dev; its other argument is called
after each batch, and may end it."""
MakeValidator = Callable[[Experiment, Prepared, nnx.GraphDef[Transformer], Mesh], Validate]


def train(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    console: Console,
    make_validator: MakeValidator,
) -> None:
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
        sigterm_asked() as asked,  # around the rest, whose end waits for what is being written
        closing(
            Checkpoints(run_dir / "checkpoints", config.keep_last, config.keep_best)
        ) as checkpoints,
        closing(Checkpoints(folder)) as interrupted,
    ):
        _train(
            experiment, run_dir, prepared, console, make_validator, checkpoints, interrupted, asked
        )
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
ADVICE = (
    "A run from the start may go well with a lower train.learning_rate_constant or a longer "
    "train.warmup_steps."
)


def _train(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    console: Console,
    make_validator: MakeValidator,
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
    log = Log(run_dir, experiment)
    log.cut_after(start, validated=not between)
    self_check(experiment, prepared, updates, console)
    validate = make_validator(experiment, prepared, graphdef, mesh)

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
        f"them {int(state.step) + 1:,}; none was applied. {ADVICE}"
    )
    keep(run_dir / NOT_FINITE, state, rows, experiment, prepared.tokenizer)
    again = f"`aiayn replay {run_dir}` computes it again."
    lines: list[str] = []
    if hosts.first():
        lines = list(look(experiment, prepared.tokenizer.num_words, state, rows))
    hosts.wait_for_all()
    return UserError("\n".join([text, *lines, again]))
