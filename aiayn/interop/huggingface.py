"""A folder of Hugging Face's: `model_type` in its config.json decides who reads it."""

from pathlib import Path

from aiayn.interop import gpt_config, marian_config
from aiayn.interop.gpt import read_gpt
from aiayn.interop.marian import read_marian
from aiayn.interop.settings import check_kind, read_table
from aiayn.model.saved import Model

_KINDS = marian_config.KIND | gpt_config.KIND
_READERS = dict(zip(_KINDS, (read_marian, read_gpt), strict=True))


def read_huggingface(folder: Path) -> Model:
    """The model in a folder as `save_pretrained` writes it.

    Raises:
        UserError: a file is missing or damaged, or the model is of a kind that is not here.
    """
    path = folder / "config.json"
    return _READERS[check_kind(read_table(path), path, _KINDS)](folder)
