"""Making what comes next while the last is being used: a thread ahead of its reader by a few blocks."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Block = TypeVar("_Block")
_SECONDS_TO_LOOK = 0.1  # how often a full queue asks whether anybody still reads


def ahead(blocks: Iterable[_Block], count: int = 2) -> Iterator[_Block]:
    """The same blocks, made by a thread that is at most `count` of them ahead; it ends with the reader.

    Raises:
        Exception: whatever making a block raises, where that block would have come.
    """
    made: queue.Queue[tuple[bool, _Block | BaseException | None]] = queue.Queue(count)
    is_over = threading.Event()

    def put(is_last: bool, what: _Block | BaseException | None) -> bool:
        while not is_over.is_set():
            try:
                made.put((is_last, what), timeout=_SECONDS_TO_LOOK)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for block in blocks:
                if not put(False, block):
                    return
            put(True, None)
        except BaseException as error:  # noqa: BLE001  (raised again by the reader)
            put(True, error)

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        while True:
            is_last, what = made.get()
            if not is_last:
                yield what  # type: ignore[misc]
            elif isinstance(what, BaseException):
                raise what
            else:
                return
    finally:
        is_over.set()
        maker.join()
