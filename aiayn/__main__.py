"""The command line: the table of verbs and the exit statuses."""

import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aiayn.commands.attention import ATTENTION
from aiayn.commands.bench import BENCH
from aiayn.commands.bleu import BLEU
from aiayn.commands.evaluate import AVERAGE, EVALUATE, INFO
from aiayn.commands.evidence import ABLATE, REPORT, SWEEP
from aiayn.commands.f1 import F1
from aiayn.commands.generate import GENERATE
from aiayn.commands.interop import EXPORT, IMPORT
from aiayn.commands.parse import PARSE
from aiayn.commands.serve import SERVE
from aiayn.commands.train import PREPARE, REPLAY, TRAIN
from aiayn.commands.translate import SCORE, TRANSLATE
from aiayn.commands.verb import Verb, parse
from aiayn.errors import LostProcess, Preempted, UserError
from aiayn.system.files import user_os_errors
from aiayn.system.memory import use_large_pages
from aiayn.system.refusals import refused
from aiayn.system.signals import stop_on_sigterm
from aiayn.system.streams import drop_unwritten, nobody_reads, open_streams

_VERBS = (
    *(TRAIN, PREPARE, TRANSLATE, GENERATE, PARSE, SCORE, ATTENTION, AVERAGE, EVALUATE, BLEU, F1),
    *(SERVE, IMPORT, EXPORT, SWEEP, ABLATE, BENCH, REPORT, REPLAY, INFO),
)
_EPILOG = """\
examples
  aiayn train phrasebook                         minutes on a laptop, ends in a BLEU table
  aiayn train multi30k_ende --set data.folder=DIR
  echo "The train to Milan leaves at 1:00 PM." | aiayn translate runs/phrasebook
  aiayn generate runs/phrasebook_lm "Wir treffen"
  aiayn serve pb=runs/phrasebook
  aiayn info runs/phrasebook --json

`aiayn COMMAND --help` says more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, or stopped by SIGTERM with all saved, 1 a claim
    fails, 2 a user's mistake, 3 another process that computed with this one is gone, 130 Ctrl-C.
    """
    if arguments is not None:
        return _main(arguments)
    open_streams()
    try:
        return _main(None)
    finally:
        drop_unwritten()


def _main(arguments: Sequence[str] | None) -> int:
    try:
        with user_os_errors(Path("command line")):
            verb, values = parse(_VERBS, arguments, _EPILOG)
    except UserError as error:
        print(f"aiayn: {error}", file=sys.stderr)
        return error.status
    except SystemExit:  # of --help and --version
        if status := _run(lambda: 0):
            return status
        raise
    if arguments is None:
        gc.set_threshold(50_000)  # imports and tracing make many objects, nearly all of which stay
        use = verb.large_pages
        if use(values) if callable(use) else use:
            use_large_pages()
    status = _run(partial(_work, verb, values), verb.trains)
    if arguments is None:
        gc.freeze()  # or Python looks through all of them once more before it ends
    return status


def _work(verb: Verb, values: dict[str, Any]) -> int:
    if verb.trains:
        stop_on_sigterm()
    if verb.jax:
        from aiayn.system.environment import configure_jax

        configure_jax()
    return verb.run(**values) or 0


def _run(work: Callable[[], int], trains: bool = False) -> int:
    """The exit status of some work, with what it says written to its end."""
    try:
        with user_os_errors(Path("standard output")):
            status = work()
            try:
                sys.stdout.flush()
            except BrokenPipeError:  # all else is done
                drop_unwritten()
            return status
    except UserError as error:
        print(f"aiayn: {error}", file=sys.stderr)
        return error.status
    except (AssertionError, ImportError, MemoryError, RuntimeError, ValueError) as error:
        # What JAX and the system refuse is a user's to mend; all else is ours, with its trace.
        if not (said := refused(error)):
            raise
        print(f"aiayn: {said}", file=sys.stderr)
        return UserError.status
    except (KeyboardInterrupt, LostProcess) as error:
        advice = "; the same command resumes from the last checkpoint" if trains else ""
        lost = isinstance(error, LostProcess)
        print(f"aiayn: {error if lost else 'interrupted'}{advice}.", file=sys.stderr)
        return error.status if lost else 130
    except Preempted as stopped:
        print(f"aiayn: {stopped} The same command resumes.", file=sys.stderr)
        return 0
    except BrokenPipeError:
        if not nobody_reads():
            raise  # of a socket or of another process
        drop_unwritten()
        if not trains:
            return 0
        said = "nobody reads standard output any more; the same command resumes"
        print(f"aiayn: {said} from the last checkpoint.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
