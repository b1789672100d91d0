"""Root without its right to pass over permissions, for tests of read-only files and folders."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_PASSING_OVER = 0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


@contextmanager
def unprivileged() -> Iterator[None]:
    """In this thread, permissions count for root too; everybody else is ordinary already."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _VERSION_3, 0)
    kept = ctypes.create_string_buffer(24)
    assert libc.capget(header, kept) == 0, os.strerror(ctypes.get_errno())
    effective, *others = struct.unpack("=6I", kept.raw)
    lowered = struct.pack("=6I", effective & ~_PASSING_OVER, *others)
    assert libc.capset(header, lowered) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, kept) == 0, os.strerror(ctypes.get_errno())
