"""Hugging Face's MarianMTModel under its Trainer, in an environment that has both:

python -m aiayn.bench.toolkit_hf train FOLDER       by the recipe in FOLDER, or go on
python -m aiayn.bench.toolkit_hf translate FOLDER   the test sets, by the last and the mean weights
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import (
    MarianMTModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from aiayn.bench.peers import marian
from aiayn.bench.recipe import (
    BATCHES,
    BOS,
    EOS,
    PAD,
    UNKNOWN,
    WEIGHTS,
    Course,
    Recipe,
    output_path,
    read_dictionary,
    read_pieces,
    text_path,
    write_pieces,
)

_IGNORED = -100
_SENTENCES = 64
"""Translated at once."""


class _Pieces:
    """Pieces as ids, and back."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names = ["<pad>", "<unk>", "<s>", "</s>", *read_dictionary(folder)]
        self._ids = {name: number for number, name in enumerate(self.names)}

    def read(self, split: str, side: str) -> list[list[int]]:
        """The sentences of a split, each with EOS."""
        sentences = read_pieces(text_path(self.folder, split, side))
        return [[*(self._ids.get(p, UNKNOWN) for p in pieces), EOS] for pieces in sentences]

    def pairs(self, split: str) -> list[dict[str, list[int]]]:
        src, tgt = self.read(split, "src"), self.read(split, "tgt")
        return [{"input_ids": s, "labels": t} for s, t in zip(src, tgt, strict=True)]

    def text(self, ids: Sequence[int]) -> list[str]:
        """The pieces of an output, without the special ones."""
        return [self.names[n] for n in ids if n not in (PAD, BOS, EOS)]


def _padded(sentences: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    width = max(map(len, sentences))
    return torch.tensor([[*each, *[value] * (width - len(each))] for each in sentences])


def _batch(pairs: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    sources, targets = ([pair[side] for pair in pairs] for side in ("input_ids", "labels"))
    input_ids = _padded(sources, PAD)
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != PAD).long(),
        "decoder_input_ids": _padded([[BOS, *target[:-1]] for target in targets], PAD),
        "labels": _padded(targets, _IGNORED),
    }


@torch.inference_mode()
def _dev_loss(model: MarianMTModel, dev: Sequence[Mapping[str, Sequence[int]]]) -> float:
    """Nats per token."""
    total, count = 0.0, 0
    for begin in range(0, len(dev), _SENTENCES):
        batch = _batch(dev[begin : begin + _SENTENCES])
        labels = batch.pop("labels")
        logits = model(**batch).logits.flatten(0, 1)
        summed = functional.cross_entropy(
            logits, labels.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        total, count = total + float(summed), count + int((labels != _IGNORED).sum())
    return total / count


@torch.inference_mode()
def _translate(
    model: MarianMTModel, sources: Sequence[Sequence[int]], recipe: Recipe, beam_size: int
) -> list[list[int]]:
    decode = recipe.experiment.decode
    order = sorted(range(len(sources)), key=lambda n: len(sources[n]))
    found: dict[int, list[int]] = {}
    for begin in range(0, len(order), _SENTENCES):
        these = order[begin : begin + _SENTENCES]
        input_ids = _padded([sources[n] for n in these], PAD)
        outputs = model.generate(
            input_ids=input_ids,
            attention_mask=(input_ids != PAD).long(),
            num_beams=beam_size,
            do_sample=False,
            length_penalty=decode.length_penalty,
            max_new_tokens=input_ids.shape[1] + decode.max_extra_tokens,
        )
        found |= {n: output[1:].tolist() for n, output in zip(these, outputs, strict=True)}
    return [found[n] for n in range(len(sources))]


class _Telling(TrainerCallback):
    """Validates after each epoch, as ours does."""

    def __init__(self, recipe: Recipe, pieces: _Pieces, course: Course):
        self.recipe, self.pieces, self.course = recipe, pieces, course
        self.dev, self.first = pieces.pairs("valid"), pieces.read("first", "src")

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **about: Any) -> None:
        self.course.introduce(*_about(about["model"]))
        self.course.resume(state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.course.start()

    def on_epoch_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        self.course.stop()
        model: MarianMTModel = about["model"].eval()
        outputs = _translate(model, self.first, self.recipe, 1)
        loss = _dev_loss(model, self.dev)
        model.train()
        done = state.global_step, state.epoch or 0.0
        self.course.tell(*done, loss, [self.pieces.text(ids) for ids in outputs])


def train(folder: Path) -> None:
    """Train by the recipe, from the last checkpoint on if there is one."""
    course, recipe, pieces = Course(folder), Recipe.read(folder), _Pieces(folder)
    config, checkpoints = recipe.experiment.train, folder / "checkpoints"
    torch.manual_seed(config.seed)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=config.num_steps,
        per_device_train_batch_size=recipe.pairs_per_batch,
        gradient_accumulation_steps=BATCHES,
        train_sampling_strategy="group_by_length",
        learning_rate=recipe.peak_rate,
        lr_scheduler_type="inverse_sqrt",
        warmup_steps=config.warmup_steps,
        adam_beta1=config.adam_b1,
        adam_beta2=config.adam_b2,
        adam_epsilon=config.adam_eps,
        max_grad_norm=0.0,
        label_smoothing_factor=config.label_smoothing,
        save_strategy="epoch",
        save_total_limit=recipe.experiment.decode.average_last,
        logging_strategy="epoch",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=config.seed,
    )
    trainer = Trainer(
        model=marian(recipe.experiment.model, len(pieces.names)),
        args=arguments,
        train_dataset=pieces.pairs("train"),
        data_collator=_batch,
        callbacks=[_Telling(recipe, pieces, course)],
    )
    done = _checkpoints(folder)
    if done and _step(done[-1]) >= config.num_steps:
        course.introduce(*_about(trainer.model))
        return
    trainer.train(resume_from_checkpoint=str(done[-1]) if done else None)


def translate(folder: Path) -> None:
    """Translate every test set with the last checkpoint, and with the mean of the last ones."""
    recipe, pieces = Recipe.read(folder), _Pieces(folder)
    decode = recipe.experiment.decode
    places = _checkpoints(folder)[-decode.average_last :]
    every = [MarianMTModel.from_pretrained(place).state_dict() for place in places]
    mean = {name: sum(each[name] for each in every) / len(every) for name in every[-1]}
    for weights, values in zip(WEIGHTS, (every[-1], mean), strict=True):
        model = marian(recipe.experiment.model, len(pieces.names)).eval()
        model.load_state_dict(values)
        for test_set in recipe.tests:
            sources = pieces.read(f"test.{test_set}", "src")
            found = _translate(model, sources, recipe, decode.beam_size)
            outputs = [pieces.text(ids) for ids in found]
            write_pieces(output_path(folder, weights, test_set), outputs)


def _about(model: MarianMTModel) -> tuple[dict[str, str], int]:
    """What a training says of itself first."""
    versions = {name: version(name) for name in ("torch", "transformers", "accelerate")}
    return versions, sum(p.numel() for p in model.parameters() if p.requires_grad)


def _checkpoints(folder: Path) -> list[Path]:
    """Those that were written to their last file, the oldest first."""
    written = (folder / "checkpoints").glob("checkpoint-*/trainer_state.json")
    return sorted((path.parent for path in written), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", folder]:
            train(Path(folder))
        case ["translate", folder]:
            translate(Path(folder))
