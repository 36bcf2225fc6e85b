"""Which store of lists does the setting name?"""

from pathlib import Path

from pipelines.errors import UsageError
from pipelines.stores.embedded import EmbeddedStore


def open_store(place: str, *, is_reader: bool = False) -> EmbeddedStore:
    """The store, to be read or written.

    Args:
        place: the setting `MARQUEE_LISTS`: the path of an embedded store.
        is_reader: whether it is only read, and must be there.

    Raises:
        UsageError: if the setting is a URL.
        UnavailableError: if the store cannot be opened.
    """
    if "://" in place:
        raise UsageError(f"the setting MARQUEE_LISTS names {place.partition('://')[0]}://: it is the path of a folder")
    return EmbeddedStore(Path(place), is_reader=is_reader)
