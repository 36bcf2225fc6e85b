"""The compiled rules, where the machine had a C compiler: `make setup` compiles `arrange.c` into `arrange.so`.

A library that is missing, or was compiled from another source than the one beside it, is not used.
"""

import ctypes
import hashlib
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).with_name("arrange.so")
_SOURCE = Path(__file__).with_name("arrange.c")


class Library:
    """Its functions: see `arrange.c`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Takes the library that holds them."""
        address, number, data = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
        self.index = library.mq_index
        self.index.argtypes, self.index.restype = (address, number, address, number), None
        self.arrange = library.mq_arrange
        self.arrange.argtypes, self.arrange.restype = (address, data, data, data, data, address), number


@cache
def compiled_rules() -> Library | None:
    """The library; `None` where there is none of this source."""
    try:
        found = ctypes.CDLL(str(_LIBRARY))
        found.mq_digest.restype = ctypes.c_char_p
        digest: bytes = found.mq_digest()
        is_ours = digest.decode() == hashlib.sha256(_SOURCE.read_bytes()).hexdigest()
        return Library(found) if is_ours else None
    except (OSError, AttributeError):
        return None
