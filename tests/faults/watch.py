"""Every call by which a process changes files, seen before it is done, from whichever thread.

The kernel stops a thread at such a call and asks here (seccomp's user notification), so that the
writes of TensorStore's C++ threads are seen like those of Python, and the process itself is the
one that users run: nothing in it is replaced. Linux on x86-64.

Run as a script, this module asks the kernel for that, sends the listener to the socket it is given,
and becomes the command behind it: `watch.py SOCKET COMMAND ...`.
"""

import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Number: name, what the path is found by, and in which argument.
_CALLS = {
    1: ("write", "fd", 0),
    18: ("pwrite64", "fd", 0),
    20: ("writev", "fd", 0),
    74: ("fsync", "fd", 0),
    75: ("fdatasync", "fd", 0),
    77: ("ftruncate", "fd", 0),
    285: ("fallocate", "fd", 0),
    40: ("sendfile", "fd", 0),
    326: ("copy_file_range", "fd", 2),
    2: ("open", "path", 0),
    85: ("creat", "path", 0),
    257: ("openat", "at", 0),
    82: ("rename", "path", 1),
    264: ("renameat", "at", 2),
    316: ("renameat2", "at", 2),
    86: ("link", "path", 1),
    265: ("linkat", "at", 2),
    87: ("unlink", "path", 0),
    263: ("unlinkat", "at", 0),
    83: ("mkdir", "path", 0),
    258: ("mkdirat", "at", 0),
    84: ("rmdir", "path", 0),
}
_FLAGS = {2: 1, 257: 2}
"""Which argument says whether an open may write."""
_AUDIT_ARCH_X86_64 = 0xC000003E
_SECCOMP, _PIDFD_GETFD, _NO_NEW_PRIVS = 317, 438, 38
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1


@dataclass(frozen=True)
class Call:
    """A call that a thread waits in."""

    name: str
    path: Path
    thread: int
    arguments: tuple[int, ...]


class Watched:
    """A process of which each call that changes something in `folder` is seen first."""

    def __init__(self, command: Sequence[str], folder: Path, **settings: Any):
        self.folder = folder.resolve()
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            raise OSError("Only Linux on x86-64 can be watched.")
        here, there = socket.socketpair()
        with here, there:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(there.fileno()), *command],
                pass_fds=[there.fileno()],
                **settings,
            )
            there.close()
            found = socket.recv_fds(here, 1, 1)[1]
        if not found:
            raise OSError("The kernel refused seccomp's user notification.")
        self._listener = found[0]
        self._waiting: Call | None = None

    def calls(self) -> Generator[Call]:
        """Each call before it is done, until the process has ended."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while self.process.poll() is None:
            for _, event in poll.poll(100):
                if not event & select.POLLIN:
                    return
                asked = bytearray(80)
                try:
                    fcntl.ioctl(self._listener, _RECEIVE, asked)
                except OSError:  # the thread has ended, or went on for a signal
                    continue
                number, thread, _, call, _, _, *arguments = struct.unpack("QIIiIQ6Q", asked)
                path = _path(thread, *_CALLS[call][1:], arguments)
                if path and path.is_relative_to(self.folder):
                    self._waiting = Call(_CALLS[call][0], path, thread, tuple(arguments))
                    yield self._waiting
                answer = bytearray(struct.pack("QqiI", number, 0, 0, _CONTINUE))
                with suppress(OSError):  # it has ended
                    fcntl.ioctl(self._listener, _SEND, answer)

    def kill(self, half: bool) -> bool:
        """End the process by SIGKILL in the call that was seen last; do half of a write before.

        Whether that call was one that can be halved.
        """
        call = self._waiting
        content = _content(call) if half and call else b""
        if call and len(content) > 1:
            pidfd = os.pidfd_open(self.process.pid)
            file = ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, call.arguments[0], 0)
            # It shares the position with the process.
            os.write(file, content[: len(content) // 2])
            os.close(file)
            os.close(pidfd)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return len(content) > 1

    def close(self) -> None:
        os.close(self._listener)


def _path(thread: int, kind: str, place: int, arguments: Sequence[int]) -> Path | None:
    process = Path(f"/proc/{thread}")
    try:
        if kind == "fd":
            return (process / "fd" / str(arguments[place])).readlink()
        name = _string(thread, arguments[place + (kind == "at")])
        folder = ctypes.c_int(arguments[place]).value if kind == "at" else -1
        base = process / "cwd" if folder < 0 else process / "fd" / str(folder)
        return Path(os.path.normpath(base.readlink() / name))
    except OSError:  # it has ended
        return None


def _memory(thread: int, place: int, length: int) -> bytes:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(place)
        return memory.read(length)


def _string(thread: int, place: int) -> str:
    found = b""
    while b"\0" not in found:  # never across a page that may not be there
        found += _memory(thread, place + len(found), 256 - (place + len(found)) % 256)
    return os.fsdecode(found.split(b"\0", 1)[0])


def _content(call: Call) -> bytes:
    """What a call was about to write; nothing if it is no write at the file's position."""
    if call.name == "write":
        return _memory(call.thread, *call.arguments[1:3])
    if call.name == "writev":
        count = call.arguments[2]
        vectors = struct.iter_unpack("QQ", _memory(call.thread, call.arguments[1], 16 * count))
        return b"".join(_memory(call.thread, *vector) for vector in vectors if vector[1])
    return b""


def _listen() -> int:
    """Have this process and what it becomes ask before each of those calls."""
    load, equal, any_set, give = 0x20, 0x15, 0x45, 0x06
    program = [(load, 0, 0, 4), (equal, 1, 0, _AUDIT_ARCH_X86_64), (give, 0, 0, _ALLOW)]
    program.append((load, 0, 0, 0))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    for number in _CALLS:
        check = [(give, 0, 0, _NOTIFY)]
        if number in _FLAGS:
            flags = 16 + 8 * _FLAGS[number]
            check = [(load, 0, 0, flags), (any_set, 0, 1, writing), *check, (give, 0, 0, _ALLOW)]
        program += [(equal, 0, len(check), number), *check]
    program.append((give, 0, 0, _ALLOW))
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    set_filter, new_listener = 1, 8
    return libc.syscall(_SECCOMP, set_filter, new_listener, filter_)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as there:
        listener = _listen()
        if listener >= 0:
            socket.send_fds(there, [b"l"], [listener])
            os.close(listener)
    os.execv(sys.argv[2], sys.argv[2:])
