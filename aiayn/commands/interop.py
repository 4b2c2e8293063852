"""Models of other toolkits: `import`, `export`."""

from argparse import ArgumentParser
from pathlib import Path

from aiayn.commands.verb import Verb, existing, model_argument
from aiayn.errors import UserError
from aiayn.system.files import place


def import_model(folder: Path, out: Path) -> None:
    """Read a Marian model (OPUS-MT) or GPT-1 from Hugging Face's files.

    Writes a model that the other commands read as one of their own. Weights are read from
    safetensors only, since a pickle is code. A translator's beams and length penalty are those of
    generation_config.json; its limits of positions and of output decide from which length on lines
    are translated in parts. A setting or tensor that has no counterpart here is refused by name.
    GPT-1's tokenizer needs the library tokenizers (pip install tokenizers).
      aiayn import opus-mt-en-de models/en-de
      echo "Good morning." | aiayn translate models/en-de
    """
    from aiayn.interop.huggingface import read_huggingface
    from aiayn.model.saved import save_model

    if out.exists():
        raise UserError(f"{out} exists already; wanted a new folder.")
    model = read_huggingface(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(out, model)
    print(f"{out}: {sum(p.size for p in model.params.values()):,} parameters")
    decode, most = model.experiment.decode, model.experiment.data.max_tokens
    if model.experiment.task == "language_model":
        print(f"Goes on with texts of up to {most:,} tokens in all; each begins with a word.")
        return
    print(
        f"Translates with {decode.beam_size} beams and the length penalty {decode.length_penalty:g}"
        f" (as an exponent of the length). Lines of more than {most} tokens are translated in "
        f"parts; outputs have at most {decode.max_extra_tokens} tokens more than their source."
    )


def _import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=existing, help="as save_pretrained writes it")
    parser.add_argument("out", type=place, help="where to write the model")


def export(model: Path, out: Path, quantization: str, small: bool) -> None:
    """Write a model for CTranslate2, a fast C++ engine, or a small one.

    --small writes a model for this program with a byte for each number of its matrices, a quarter
    of the size, to pass on. All else is for CTranslate2:

    Needs CTranslate2 (pip install ctranslate2, or .venv-parity after make parity). Its Translator
    takes and gives SentencePiece's pieces: those of tokenizer.model beside the weights, or, where
    the model was imported, of source.spm and target.spm. It adds EOS to sources. A language model
    is for its Generator, which is given the pieces of a text from <s> on (of GPT-1, from its first
    word on). A parser's Translator takes the pieces of words.spm and gives symbols, (NP where a
    constituent begins and )NP where it ends; nothing makes them a tree, as `aiayn parse` does.
    """
    from aiayn.model.saved import model_of, save_model

    exported = model_of(model)
    if small:
        if out.exists():
            raise UserError(f"{out} exists already; wanted a new folder.")
        save_model(out, exported, small=True)
        print(f"{out}: for aiayn, {sum(f.stat().st_size for f in out.iterdir()) / 1e6:.1f} MB")
        return
    from aiayn.interop import ctranslate2

    ctranslate2.export(exported, out, quantization)
    is_text = exported.experiment.model.kind == "decoder"
    print(f"{out}: for ctranslate2.{'Generator' if is_text else 'Translator'}")


def _export_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument("out", type=place, help="where to write it")
    stored = parser.add_mutually_exclusive_group()
    stored.add_argument(
        "--small", action="store_true", help="for this program, with matrices in bytes"
    )
    stored.add_argument(
        "--quantization",
        choices=("float32", "int8", "int8_float32", "int16", "float16"),
        default="float32",
        help="how weights are stored (default: float32)",
    )


IMPORT = Verb("import", import_model, _import_arguments)
EXPORT = Verb("export", export, _export_arguments)
