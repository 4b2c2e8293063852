"""Text that grows token by token, told as far as it cannot change any more."""

from collections.abc import Sequence

from aiayn.data.tokenizer import INCOMPLETE, Tokenizer, byte_of


class Unfolding:
    """The text after a prompt, up to the first of some strings that stop it.

    `tell` gives what is new and certain: it keeps back a character whose bytes are not all there,
    and an end that a stop string may begin with. All that was told, joined, is the whole text.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str] = ()):
        self._tokenizer, self._prompt, self._stops = tokenizer, list(prompt), tuple(stops)
        whole = self._prompt[: len(self._prompt) - _unfinished(tokenizer, self._prompt)]
        (self.before,) = tokenizer.decode([whole])
        """The text of the prompt, but for a character whose bytes are not all there, which is the
        first of what comes after."""
        self._told = self._num_told = 0

    def text(self, ids: Sequence[int]) -> tuple[str, int | None]:
        """The text of all tokens after the prompt, or of the fewest that hold a stop string up to
        that, and then how many these are, else None."""
        text = self._after(ids)
        if self._first_stop(text) is None:
            return text, None
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            if self._first_stop(self._after(ids[:middle])) is None:
                low = middle + 1
            else:
                high = middle
        text = self._after(ids[:low])
        return text[: self._first_stop(text)], low

    def tell(self, ids: Sequence[int], is_last: bool) -> str:
        """What is certain of the text of all tokens up to now, and was not told before."""
        text, stopped = self.text(ids)
        if stopped is None and not is_last:
            text = text.rstrip(INCOMPLETE)
            text = text[: len(text) - self._may_stop(text)]
        new = text[self._told :]
        self._told += len(new)
        return new

    def num_told(self, ids: Sequence[int]) -> int:
        """How many of the tokens after the prompt were told as text, each as a whole."""
        while (
            self._num_told < len(ids) and len(self._after(ids[: self._num_told + 1])) <= self._told
        ):
            self._num_told += 1  # what was told is never taken back
        return self._num_told

    def _after(self, ids: Sequence[int]) -> str:
        (text,) = self._tokenizer.decode([[*self._prompt, *ids]])
        return text[len(self.before) :]

    def _first_stop(self, text: str) -> int | None:
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        return min(found, default=None)

    def _may_stop(self, text: str) -> int:
        """Characters at the end that a stop string may begin with."""
        longest = max(map(len, self._stops), default=1) - 1
        return next(
            (
                length
                for length in range(min(longest, len(text)), 0, -1)
                if any(stop.startswith(text[-length:]) for stop in self._stops)
            ),
            0,
        )


def _unfinished(tokenizer: Tokenizer, ids: Sequence[int]) -> int:
    """How many of the last tokens are bytes of a character whose others are still to come."""
    for count, piece in enumerate(reversed(tokenizer.pieces(ids[-3:])), 1):
        byte = byte_of(piece)
        if byte is None or byte < 0x80:
            break
        if byte >= 0xC0:  # the first of a character says how many there are
            return count if count < 2 + (byte >= 0xE0) + (byte >= 0xF0) else 0
    return 0
