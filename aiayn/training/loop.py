"""A run from a config to a trained model: data, model, state, loop (§5, §5.2).

Training resumes from the newest state on disk. Rows of `metrics.jsonl` for later steps are dropped:
those steps run again and give the same numbers. With several processes all run this in step; only
the first writes, except for checkpoints, which Orbax has all of them write together.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from aiayn.config import Experiment, TrainConfig
from aiayn.data.prepare import Prepared
from aiayn.errors import Preempted, UserError
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.structure import build
from aiayn.system import hosts
from aiayn.system.signals import sigterm_asked
from aiayn.training.feed import Feed
from aiayn.training.initial import start_from
from aiayn.training.log import Log
from aiayn.training.mesh import data_mesh, mapped_train_step, refuse_slow_scatter, replicated
from aiayn.training.optim import optimizer
from aiayn.training.progress import TrainingProgress, self_check
from aiayn.training.replay import keep, look
from aiayn.training.run_folder import NOT_FINITE, begin_session, check_run, open_run
from aiayn.training.states import States, forget_interruptions
from aiayn.training.step import Metrics, TrainState, abstract_state, initial_state

Validate = Callable[[TrainState, Callable[[], None]], dict[str, float]]
"""From a state to `dev_loss` (nats per token) and other scores of dev; its other argument is called
after each batch, and may end it."""
MakeValidator = Callable[[Experiment, Prepared, nnx.GraphDef[AutoregressiveModel], Mesh], Validate]
Asked = Callable[[int], bool]
"""Whether to stop after a step, because SIGTERM came."""

MOST_IN_A_ROW = 10
"""Updates with a NaN or infinite loss or gradient in a row after which training gives up."""
ADVICE = (
    "A run from the start may go well with a longer train.warmup_steps, or with a lower "
    "train.learning_rate_constant (and preset=custom)."
)


def train(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    console: Console,
    make_validator: MakeValidator,
) -> None:
    """Train up to `train.num_steps`, from the newest state of `run_dir` if there is one.

    Raises:
        UserError: the directory holds another experiment, or a run past `train.num_steps`; or
            MOST_IN_A_ROW updates or the loss on dev are not finite; or the devices are refused, see
            `refuse_slow_scatter`.
        Preempted: SIGTERM came; the same call resumes from the step it came in.
    """
    refuse_slow_scatter(jax.devices()[0].client.platform_version, version("jaxlib"))
    check_run(experiment, run_dir, prepared)
    with (
        sigterm_asked() as asked,  # outermost: closing the states waits for their writes
        closing(States(run_dir, experiment, prepared.tokenizer, console)) as states,
    ):
        if hosts.first():
            open_run(experiment, run_dir, prepared)
        if not states.is_finished:
            _train(experiment, run_dir, prepared, console, make_validator, states, asked)
    forget_interruptions(run_dir)


def _train(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    console: Console,
    make_validator: MakeValidator,
    states: States,
    asked: Asked,
) -> None:
    config = experiment.train

    # Data: the rows of every update follow from seed and step.
    mesh = data_mesh()
    feed = Feed.of(experiment, prepared, mesh)

    # Model and optimiser.
    num_words = prepared.tokenizer.num_words
    graphdef = build(experiment.model, num_words)
    adam = optimizer(experiment.model, config)
    update = mapped_train_step(graphdef, config, adam, mesh)
    key = jax.random.key(config.seed)

    # State: the newest one on disk, else that of `train.initial`, else drawn from the seed.
    state = _newest_state(states, num_words, adam, mesh, console)
    start = states.start
    if start:
        console.print(f"Resuming from step {start:,} of {config.num_steps:,}.")
    if hosts.first():
        begin_session(experiment, run_dir, start)

    # Log, progress, checkpoints.
    log = Log(run_dir, experiment)
    if lost := log.resume(start, not states.is_between, states.totals()):
        console.print(f"{lost} Totals are those of the checkpoint.")
    self_check(experiment, prepared, feed.updates, console)
    progress = TrainingProgress(console, config.num_steps, start)
    validate = make_validator(experiment, prepared, graphdef, mesh)
    checkpoint = _Checkpoint(states, validate, log, progress, asked)
    # Of several processes one that was told before it asked for the first time stops at step 1.
    if asked(1) or asked(start):
        raise Preempted(f"SIGTERM came at step {start:,} of {config.num_steps:,}.")

    # Loop.
    with closing(log), progress:
        if states.is_between and _is_due(start, config):
            checkpoint(start, state)
        pending: list[Metrics] = []
        ahead = log.timed(feed.ahead(start, config.num_steps), pending)
        for step, rows in enumerate(ahead, start + 1):
            state, metrics = update(state, rows, key)
            pending.append(metrics)
            log.count_slots(rows)
            progress.advance()
            is_due = _is_due(step, config)
            if step % config.log_every == 0 or is_due:
                progress.show(log.write(step, pending))
                pending.clear()
                if log.in_a_row >= MOST_IN_A_ROW:
                    first = step - log.in_a_row  # counted from 0, as the state's own step
                    raise _gives_up(experiment, run_dir, prepared, state, feed, first)
            if is_due:
                checkpoint(step, state)
            if asked(step):
                if pending:
                    log.write(step, pending)
                if not is_due:
                    states.keep_interrupted(state, log.totals())
                raise _stopped(step, config)


def _newest_state(
    states: States,
    num_words: int,
    adam: optax.GradientTransformation,
    mesh: Mesh,
    console: Console,
) -> TrainState:
    experiment = states.experiment
    found = states.restore(abstract_state(experiment.model, num_words, adam, mesh))
    if found:
        return found
    first = initial_state(experiment.model, num_words, experiment.train.seed, adam)
    if experiment.train.initial:
        tokenizer, run_dir = states.tokenizer, states.run_dir
        params = start_from(experiment, tokenizer, first.params, run_dir, console)
        first = first._replace(params=params)
    return replicated(first, mesh)


def _is_due(step: int, config: TrainConfig) -> bool:
    """Whether a checkpoint is written after this step."""
    return step % config.checkpoint_every == 0 or step == config.num_steps


def _stopped(step: int, config: TrainConfig) -> Preempted:
    return Preempted(f"SIGTERM came; step {step:,} of {config.num_steps:,} is saved.")


@dataclass(frozen=True)
class _Checkpoint:
    """Validates a state and keeps it.

    SIGTERM ends the validation, which is done anew later, where there is one process: several ask
    together, after a step.
    """

    states: States
    validate: Validate
    log: Log
    progress: TrainingProgress
    asked: Asked

    def __call__(self, step: int, state: TrainState) -> None:
        def go_on() -> None:
            if jax.process_count() == 1 and self.asked(step):
                raise _stopped(step, self.states.experiment.train)

        self.progress.say("validating")
        try:
            found = self.validate(state, go_on)
        except Preempted:
            self.states.keep_interrupted(state, self.log.totals())
            raise
        self.progress.show(self.log.write_validation(step, found))
        self.states.keep(state, found["dev_loss"], self.log.totals())


def _gives_up(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    state: TrainState,
    feed: Feed,
    first: int,
) -> UserError:
    """Keep update `first` (counted from 0) with its inputs; an error that says what is known of it.

    It is the first of those that were not finite, so none since has changed the parameters.
    """
    state, rows = state._replace(step=replicated(np.int32(first), feed.mesh)), feed.all_rows(first)
    text = (
        f"The loss or the gradient was not finite in {MOST_IN_A_ROW} steps in a row, the first of "
        f"them {first + 1:,}; none was applied. {ADVICE}"
    )
    keep(run_dir / NOT_FINITE, state, rows, experiment, prepared.tokenizer)
    again = f"`aiayn replay {run_dir}` computes it again."
    lines: list[str] = []
    if hosts.first():
        lines = list(look(experiment, prepared.tokenizer.num_words, state, rows))
    hosts.wait_for_all()
    return UserError("\n".join([text, *lines, again]))
