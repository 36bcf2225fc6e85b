"""The data dictionary that people read, derived from the declarations."""

from feature_defs.declarations import Array, Field, NotNull, Severity, Table
from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.tables import ALL_TABLES, LAKE_TABLES, SAID_TABLES, STORE_TABLES, WAREHOUSE_TABLES
from pipelines.checks import in_words

_HEAD = """# Data dictionary

Written by `make docs` from `feature_defs/`; not edited by hand. In the lake every table has a column `day` beside those
named here. A breach of a rule marked *aside* sets the row aside in quarantine, of one marked *warning* is counted; of
any other refuses the write.

| table | warehouse | lake | stores | what it is |
|---|---|---|---|---|
"""


def data_dictionary() -> str:
    """The whole page, as Markdown."""
    in_warehouse = (*WAREHOUSE_TABLES, *SAID_TABLES)
    overview = "".join(
        f"| [{table.name}](#{table.name}) | {_tick(table, in_warehouse)} | {_tick(table, LAKE_TABLES)} | "
        f"{_tick(table, STORE_TABLES)} | {table.description} |\n"
        for table in ALL_TABLES
    )
    return _HEAD + overview + "".join(_section(table) for table in ALL_TABLES)


def _section(table: Table) -> str:
    lines = [f"\n## {table.name}\n", f"{table.description}\n", f"Key: {', '.join(f'`{name}`' for name in table.key)}."]
    if table.day_of:
        lines.append(f"Day: UTC date of `{table.day_of}`.")
    lines += [
        f"A row holds from `{view.timestamp_field}` for {view.ttl.days} days, and may be used from "
        f"`{view.created_timestamp_column}` on."
        for view in (USER_FEATURES, ITEM_FEATURES)
        if view.name == table.name
    ]
    lines.append("\n| column | type | rules | meaning |\n|---|---|---|---|")
    lines += [f"| `{field.name}` | {_type(field)} | {_rules(field)} | {field.description} |" for field in table]
    return "\n".join(lines) + "\n"


def _tick(table: Table, tables: tuple[Table, ...]) -> str:
    return "yes" if table in tables else ""


def _type(field: Field) -> str:
    return f"list of {field.dtype.element}" if isinstance(field.dtype, Array) else str(field.dtype)


def _rules(field: Field) -> str:
    words = ["required" if isinstance(rule, NotNull) else in_words(rule) + _mark(rule.severity) for rule in field.rules]
    return "; ".join(words)


def _mark(severity: Severity) -> str:
    return "" if severity is Severity.CRITICAL else f" ({severity})"
