"""Which of some languages a text is in."""

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from threading import Lock
from typing import Any

from aiayn.data.languages import parse

_ITS = {"fil": "tl"}
"""The library's codes where they are others than CLDR's."""


class Detector:
    """py3langid's model, loaded with the first text."""

    def __init__(self) -> None:
        self._lock = Lock()

    @cached_property
    def _identifier(self) -> Any:
        module: Any = import_module("py3langid.langid")
        return module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)

    def detect(self, text: str, codes: Sequence[str]) -> list[dict[str, Any]]:
        """The languages of these that the text may be in, likeliest first, with a confidence of 0
        to 100, all together 100. One that the library does not know has none."""
        with self._lock:
            ranked = dict(self._identifier.rank(text))
        names = {code: parse(code).language for code in codes}
        weights = {code: float(ranked.get(_ITS.get(n, n), 0.0)) for code, n in names.items()}
        total = sum(weights.values()) or 1.0
        best = sorted(codes, key=lambda code: -weights[code])
        return [
            {"confidence": round(100 * weights[code] / total, 1), "language": code} for code in best
        ]
