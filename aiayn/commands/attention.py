"""Pictures of attention: `attention`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Literal, get_args

from aiayn.commands.verb import Verb, model_argument, positive
from aiayn.data.text import visible
from aiayn.errors import UserError
from aiayn.system.files import place

_Kind = Literal["encoder", "decoder", "cross"]


def attention(
    model: Path,
    sentence: str,
    target: str | None,
    kind: _Kind | None,
    layer: int | None,
    heads: list[int],
    word: str,
    out: Path,
) -> None:
    """Show what each head looks at in a sentence.

    Writes attention.json (the weights of every layer, head and kind, with the tokens), heatmap.png
    and links.png (the form of the paper's Figures 3 to 5). Figure 4 would be
      aiayn attention RUN "The Law will never be perfect , but its application should be just ." \\
        --kind encoder --layer 5 --heads 5 6 --word its
    A language model has one kind, and its sentence is the text that it reads. The target of a
    parser is a tree.
    """
    from aiayn.decoding.heads import draw, look, look_at_text
    from aiayn.decoding.parser import Parser, words_of
    from aiayn.decoding.translator import Translator
    from aiayn.decoding.writer import Writer
    from aiayn.model.saved import model_of

    loaded = model_of(model)
    sentence, target = visible(sentence), target and visible(target)
    if loaded.experiment.model.kind == "decoder":
        if target is not None or kind not in (None, "decoder"):
            given = "--target" if target is not None else f"--kind {kind}"
            raise UserError(f"{given} is for a model that translates; wanted it without.")
        chosen: _Kind = "decoder"
        looks = look_at_text(Writer(loaded), sentence)
    else:
        if loaded.experiment.task == "parsing":
            translator = Parser(loaded)
            sentence = " ".join(words_of(sentence))
            target = target and translator.symbols_over(sentence, target)
        else:
            translator = Translator(loaded)
        if target is None:
            target = translator.translate([sentence])[0][0].text
            print(target)
        chosen = kind or "cross"
        looks = look(translator, sentence, target)
    draw(
        looks,
        chosen,
        layer if layer is not None else loaded.experiment.model.num_layers,
        heads,
        word,
        out,
        loaded.experiment.name,
    )
    print(f"Written to {out}: heatmap.png, links.png, attention.json.")


def _attention_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument("sentence", help="the source sentence, or a text")
    parser.add_argument("--target", help="its translation, or its tree (default: the model's own)")
    parser.add_argument(
        "--kind",
        choices=get_args(_Kind),
        help="encoder or decoder self-attention, or the decoder's of the encoder (default: cross)",
    )
    parser.add_argument("--layer", type=positive, metavar="N", help="from 1 (default: the last)")
    parser.add_argument(
        "--heads", type=positive, nargs="+", default=[], metavar="N", help="from 1 (default: all)"
    )
    parser.add_argument("--word", default="", help="draw links from this word only")
    parser.add_argument(
        "--out", type=place, default=Path("attention"), help="where (default: attention)"
    )


ATTENTION = Verb("attention", attention, _attention_arguments)
