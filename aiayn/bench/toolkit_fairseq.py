"""fairseq's own training loop, in an environment that has it:

python -m aiayn.bench.toolkit_fairseq train FOLDER       by the recipe in FOLDER, or go on
python -m aiayn.bench.toolkit_fairseq translate FOLDER   the test sets, by the last and mean weights
"""

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from aiayn.bench.peers import importing_fairseq, trained
from aiayn.bench.recipe import (
    BATCHES,
    WEIGHTS,
    Course,
    Recipe,
    output_path,
    read_pieces,
    text_path,
    write_pieces,
)

with importing_fairseq():
    from fairseq import checkpoint_utils
    from fairseq_cli import train as loop

_SENTENCES = 64
"""Translated at once."""
# Its checkpoints hold its settings, which PyTorch would refuse to load today.
_whole = patch("torch.load", partial(torch.load, weights_only=False))


def _arguments(recipe: Recipe, folder: Path) -> list[str]:
    """The command line of fairseq-train."""
    model, config = recipe.experiment.model, recipe.experiment.train
    sizes = {
        f"{stack}-{name}": value
        for stack in ("encoder", "decoder")
        for name, value in {
            "layers": model.num_layers,
            "embed-dim": model.d_model,
            "ffn-embed-dim": model.d_ff,
            "attention-heads": model.num_heads,
        }.items()
    }
    settings = {
        "source-lang": "src",
        "target-lang": "tgt",
        "task": "translation",
        "dataset-impl": "raw",
        "arch": "transformer",
        **sizes,
        "dropout": model.dropout_rate,
        "criterion": "label_smoothed_cross_entropy",
        "label-smoothing": config.label_smoothing,
        "optimizer": "adam",
        "adam-betas": (config.adam_b1, config.adam_b2),
        "adam-eps": config.adam_eps,
        "lr": recipe.peak_rate,
        "lr-scheduler": "inverse_sqrt",
        "warmup-updates": config.warmup_steps,
        "max-tokens": recipe.slots_per_batch,
        "update-freq": BATCHES,
        "max-update": config.num_steps,
        "seed": config.seed,
        "save-dir": folder / "checkpoints",
        "keep-last-epochs": recipe.experiment.decode.average_last,
        "best-checkpoint-metric": "nll_loss",
        "num-workers": 0,
        "log-format": "json",
        "log-interval": 1_000_000,
    }
    flags = ["--share-all-embeddings", "--cpu", "--no-progress-bar"]
    words = (word for name, value in settings.items() for word in (f"--{name}", str(value)))
    return ["fairseq-train", str(folder / "text"), *flags, *words]


@torch.inference_mode()
def _translate(
    task: Any, model: Any, sources: Sequence[Sequence[str]], recipe: Recipe, beam_size: int
) -> list[list[str]]:
    decode = recipe.experiment.decode
    about = {
        "beam": beam_size,
        "lenpen": decode.length_penalty,
        "max_len_a": 1,
        "max_len_b": decode.max_extra_tokens,
    }
    generator = task.build_generator([model], Namespace(**about))
    words = task.target_dictionary
    encode = partial(task.source_dictionary.encode_line, add_if_not_exist=False)
    ids = [encode(" ".join(pieces)).long() for pieces in sources]
    dataset = task.build_dataset_for_inference(ids, [len(each) for each in ids])
    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    found: dict[int, list[str]] = {}
    for begin in range(0, len(order), _SENTENCES):
        batch = dataset.collater([dataset[n] for n in order[begin : begin + _SENTENCES]])
        for number, best in zip(
            batch["id"].tolist(), task.inference_step(generator, [model], batch), strict=True
        ):
            text = words.string(best[0]["tokens"])
            found[number] = text.split(" ") if text else []
    return [found[n] for n in range(len(ids))]


class _Timed:
    """The functions of the loop, which let the clock run and tell a row before they save."""

    NAMES = "train", "validate_and_save", "validate"

    def __init__(self, folder: Path, recipe: Recipe, course: Course):
        self.recipe, self.course = recipe, course
        self.first = read_pieces(text_path(folder, "first", "src"))
        self.own = {name: getattr(loop, name) for name in self.NAMES}
        self.has_begun = False

    def train(self, cfg: Any, trainer: Any, *about: Any) -> Any:
        if not self.has_begun:
            versions = {name: version(name) for name in ("torch", "fairseq")}
            self.course.introduce(versions, sum(p.numel() for p in trained(trainer.model)))
            self.course.resume(trainer.get_num_updates())
            self.has_begun = True
        if trainer.get_num_updates() >= self.recipe.experiment.train.num_steps:
            return [None], True  # it would look only after another update
        self.course.start()
        result = self.own["train"](cfg, trainer, *about)
        self.course.stop()
        return result

    def validate_and_save(self, *about: Any) -> Any:
        self.course.stop()
        result = self.own["validate_and_save"](*about)
        self.course.start()
        return result

    def validate(self, cfg: Any, trainer: Any, task: Any, epoch: Any, *about: Any) -> Any:
        epochs = epoch.epoch - 1 + epoch.iterations_in_epoch / len(epoch)
        losses = self.own["validate"](cfg, trainer, task, epoch, *about)
        model = trainer.model.eval()
        outputs = _translate(task, model, self.first, self.recipe, 1)
        model.train()
        done = trainer.get_num_updates(), epochs
        self.course.tell(*done, losses[0] * math.log(2), outputs)
        return losses


def train(folder: Path) -> None:
    """Train by the recipe, from the last checkpoint on if there is one."""
    course, recipe = Course(folder), Recipe.read(folder)
    timed = _Timed(folder, recipe, course)
    own = {name: getattr(timed, name) for name in timed.NAMES}
    arguments = _arguments(recipe, folder)
    with _whole, patch.multiple(loop, **own), patch.object(sys, "argv", arguments):
        loop.cli_main()


@_whole
def translate(folder: Path) -> None:
    """Translate every test set with the last checkpoint, and with the mean of the last epochs'."""
    recipe, checkpoints = Recipe.read(folder), folder / "checkpoints"
    decode = recipe.experiment.decode
    last = checkpoints / "checkpoint_last.pt"
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(last)])
    places = sorted(checkpoints.glob("checkpoint[0-9]*.pt"), key=_epoch)
    places = places[-decode.average_last :] or [last]  # of a run that ends within its first epoch
    every = [checkpoint_utils.load_checkpoint_to_cpu(str(place))["model"] for place in places]
    mean = {name: sum(each[name] for each in every) / len(every) for name in every[0]}
    for weights, values in zip(WEIGHTS, (model.state_dict(), mean), strict=True):
        model.load_state_dict(values)
        for layer in model.eval().encoder.layers:
            layer.can_use_fastpath = False  # PyTorch refuses its masks today
        for test_set in recipe.tests:
            sources = read_pieces(text_path(folder, f"test.{test_set}", "src"))
            outputs = _translate(task, model, sources, recipe, decode.beam_size)
            write_pieces(output_path(folder, weights, test_set), outputs)


def _epoch(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("checkpoint"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", folder]:
            train(Path(folder))
        case ["translate", folder]:
            translate(Path(folder))
