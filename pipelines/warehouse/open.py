"""Which warehouse does the setting name? DuckDB by its path, Snowflake by its URL."""

from pathlib import Path

from pipelines.errors import UsageError
from pipelines.warehouse.interface import LoadableWarehouse, Warehouse


def open_warehouse(place: str, password: str = "") -> Warehouse:
    """The warehouse, to be read.

    Args:
        place: the setting `MARQUEE_WAREHOUSE`, a path or a `snowflake://` URL.
        password: for Snowflake alone.

    Raises:
        UsageError: if the setting is a URL of a form that is not known.
        UnavailableError: if the warehouse is not there, does not answer or is held by a writer.
        DataError: if the file is not a DuckDB database.
    """
    return _open(place, password, is_writable=False)


def open_for_loading(place: str, password: str = "") -> LoadableWarehouse:
    """The warehouse, to be written; a DuckDB file that does not exist is made. Raises what `open_warehouse` does."""
    return _open(place, password, is_writable=True)


def _open(place: str, password: str, *, is_writable: bool) -> LoadableWarehouse:
    scheme = place.partition("://")[0] if "://" in place else ""
    if scheme == "snowflake":
        from pipelines.warehouse.snowflake import SnowflakeWarehouse

        return SnowflakeWarehouse(place, password)
    if scheme:
        raise UsageError(f"the setting MARQUEE_WAREHOUSE names {scheme}://: it is a path or a snowflake:// URL")
    from pipelines.warehouse.duckdb import DuckDBWarehouse

    return DuckDBWarehouse(Path(place), is_writable=is_writable)
