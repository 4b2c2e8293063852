"""What JAX or the system refuses to do, in words that say what to change."""

import os
import re


def refused(error: BaseException) -> str:
    """One sentence for an error that a user can mend: a variable of the environment that JAX cannot
    read, a device that is not there, memory that is used up. Empty for any other."""
    text = str(error)
    if named := re.search(r"invalid truth value (.*) for environment '(\w+)'", text):
        return f"The variable {named[2]} is {named[1]}; wanted true or false."
    if named := re.search(r'Invalid value "(.*)" for JAX flag (\w+)', text):
        return (
            f"The variable {named[2].upper()} is {named[1]!r}, which JAX does not know; unset it."
        )
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if "Unable to initialize backend" in text or "Unknown backend" in text:
        first = text.splitlines()[0]
        wanted = f"JAX_PLATFORMS is {platforms!r}; unset it." if platforms else ""
        return f"JAX cannot use a device of this machine: {first} {wanted}".strip()
    if platforms and isinstance(error, AssertionError) and not text and _no_device():
        return f"JAX_PLATFORMS is {platforms!r}, and JAX finds no such device here. Unset it."
    no_memory = "RESOURCE_EXHAUSTED: Out of memory", "failed to map segment"  # of a library
    if isinstance(error, MemoryError) or any(each in text for each in no_memory):
        return (
            "The memory is used up. `aiayn train` takes less with --set of a smaller "
            "train.slots_per_device, `aiayn evaluate` of decode.slots_per_batch, other commands "
            "with fewer beams, texts or models at once; see also `ulimit -v`."
        )
    if "can't start new thread" in text:
        return "No thread can be started; wanted a higher limit of processes, see `ulimit -u`."
    return ""


def _no_device() -> bool:
    """Whether JAX finds none: any other assertion is not about that."""
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        return True
    return False
