"""The loss and the BLEU of dev, before each checkpoint."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from flax import nnx
from jax.sharding import Mesh

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared
from aiayn.data.rows import Rows
from aiayn.data.updates import batches
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.evaluation.bleu import headline
from aiayn.evaluation.scores import Headline
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.saved import Model
from aiayn.system import hosts
from aiayn.training.loop import ADVICE
from aiayn.training.mesh import mapped_evaluation_step, one_copy, sharded
from aiayn.training.step import TrainState


def validator(
    experiment: Experiment,
    prepared: Prepared,
    graphdef: nnx.GraphDef[AutoregressiveModel],
    mesh: Mesh,
    headline: Callable[[Sequence[str], Sequence[str], str], Headline] | None = headline,
) -> Callable[[TrainState, Callable[[], None]], dict[str, float]]:
    """A function from a state to `dev_loss` (nats per token), `dev_perplexity` and `dev_bleu`.

    Rows are shared out to devices, sentences to processes. `dev_bleu` is the task's headline figure
    of greedy outputs for the first sentences of dev: really decoded, not teacher-forced; a language
    model, whose outputs have no references, has none. A state
    whose `dev_loss` is not finite is a UserError: it is not worth keeping. Its other argument is
    called after each batch, and may end it.
    """
    config = experiment.train
    evaluate = mapped_evaluation_step(graphdef, mesh)
    slots = config.slots_per_device * mesh.size
    src = prepared.lines("dev", "src")[: config.validate_sentences] if headline else []
    references = prepared.lines("dev", "tgt")[: config.validate_sentences]
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
                f"earlier checkpoints are. {ADVICE}"
            )
        found = {"dev_loss": total / count, "dev_perplexity": math.exp(min(total / count, 50.0))}
        if src and headline:
            model = Model(experiment, prepared.tokenizer, {})
            translator = Translator(model, greedy, params=one_copy(state.params))
            translate = partial(translator.best, on_done=lambda _: go_on())
            hypotheses = hosts.shared_out(translate, src)
            found["dev_bleu"] = headline(hypotheses, references, experiment.data.tgt).value
        return found

    return validate
