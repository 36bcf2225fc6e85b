"""Great Expectations suites derived from the declarations, and the Data Docs that show people how the data fared.

The checks of `pipelines.checks` stand before every write; a suite says the same of the tables that come in and the
lists that go out in a form that data people know, and leaves pages behind.
"""

import html
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_defs.declarations import Array, Between, Near, NotNull, OneOf, Severity, Table
from pipelines.errors import DataError

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

# Above this many rows a day is validated where it lies, by Spark, instead of in this process's memory.
SPARK_ROWS = 2_000_000


@dataclass(frozen=True)
class Validated:
    """What the suites found: the page that shows it, and each failed expectation as a sentence."""

    page: Path
    expectation_count: int
    critical: tuple[str, ...]
    warnings: tuple[str, ...]

    def refuse_if_critical(self, what: str) -> None:
        """End the write if a critical expectation failed.

        Raises:
            DataError: names each column and expectation.
        """
        if self.critical:
            raise DataError(f"{what} does not meet its expectations: {'; '.join(self.critical)}; see {self.page}")


def expectation_suite(table: Table) -> "ExpectationSuite":
    """The suite of a table: an expectation for each rule, and for the key; rules on list elements are not said here."""
    gx = great_expectations()
    gxe = gx.expectations
    expected: list[Any] = []
    for field in table:
        for rule in field.rules:
            severity = "critical" if rule.severity is Severity.CRITICAL else "warning"
            match rule:
                case NotNull():
                    expected.append(gxe.ExpectColumnValuesToNotBeNull(column=field.name, severity=severity))
                case Between() if not isinstance(field.dtype, Array):
                    expected.append(
                        gxe.ExpectColumnValuesToBeBetween(
                            column=field.name, min_value=rule.low, max_value=rule.high, severity=severity
                        )
                    )
                case OneOf() if not isinstance(field.dtype, Array):
                    expected.append(
                        gxe.ExpectColumnValuesToBeInSet(
                            column=field.name, value_set=list(rule.values), severity=severity
                        )
                    )
                case Near() | Between() | OneOf():
                    pass  # a suite has no word for it: `pipelines.checks` holds it
    if len(table.key) == 1:
        expected.append(gxe.ExpectColumnValuesToBeUnique(column=table.key[0], severity="critical"))
    else:
        expected.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(table.key), severity="critical"))
    expected.append(gxe.ExpectTableRowCountToBeBetween(min_value=1, severity="critical"))
    return gx.ExpectationSuite(name=table.name, expectations=expected)


def validate(
    rows: Mapping[Table, Path], docs: Path, day: date, label: str, *, spark_rows: int = SPARK_ROWS
) -> Validated:
    """Hold the rows of Parquet files against their tables' suites and write the pages that show how they fared.

    Args:
        rows: for each table a file of rows; read by pandas, or by Spark where they are more than `spark_rows`.
        docs: the folder of all Data Docs; the pages go below it, and its `index.html` lists what is there.
        day: the day the rows are of.
        label: what tells these rows from others of the day: a job, a shard.
        spark_rows: how many rows of a table pandas may hold.
    """
    gx = great_expectations()
    site = docs / str(day) / label
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        for name in list(context.get_site_names()):
            context.delete_data_docs_site(name)
        context.add_data_docs_site("local", _site(site))
        results = []
        for table, path in rows.items():
            suite = context.suites.add(expectation_suite(table))
            frame, source = _frame(context, table.name, path, spark_rows)
            batch = source.add_dataframe_asset(name=table.name).add_batch_definition_whole_dataframe(str(day))
            definition = gx.ValidationDefinition(name=table.name, data=batch, suite=suite)
            context.validation_definitions.add(definition)
            checkpoint = context.checkpoints.add(gx.Checkpoint(name=table.name, validation_definitions=[definition]))
            outcome = checkpoint.run(batch_parameters={"dataframe": frame})
            results += [(table, found) for one in outcome.run_results.values() for found in one.results]
        context.build_data_docs()
    failed = [(table, found) for table, found in results if not found.success]
    _write_index(docs)
    return Validated(
        page=site / "index.html",
        expectation_count=len(results),
        critical=tuple(_in_words(table, found) for table, found in failed if _is_critical(found)),
        warnings=tuple(_in_words(table, found) for table, found in failed if not _is_critical(found)),
    )


def _frame(context: Any, name: str, path: Path, spark_rows: int) -> tuple[Any, Any]:
    file = pq.ParquetFile(path)
    if file.metadata.num_rows > spark_rows:
        source = context.data_sources.add_spark(name=name)
        return source.get_spark().read.parquet(str(path)), source
    rows = pq.read_table(path)
    # A list has no bounds for pandas: only whether it is there is asked.
    for position, column in enumerate(rows.schema):
        if pa.types.is_list(column.type):
            rows = rows.set_column(position, column.name, pc.list_value_length(rows.column(column.name)))
    return rows.to_pandas(), context.data_sources.add_pandas(name=name)


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


def _is_critical(found: Any) -> bool:
    return bool(found.expectation_config.severity == "critical")


def _in_words(table: Table, found: Any) -> str:
    config, outcome = found.expectation_config, found.result
    column = config.kwargs.get("column") or ", ".join(config.kwargs.get("column_list", [])) or "row count"
    count = outcome.get("unexpected_count")
    return f"{table.name}.{column}: {config.type}" + (f" ({count:,} rows)" if count is not None else "")


def _write_index(docs: Path) -> None:
    pages = sorted(docs.glob("*/*/index.html"), reverse=True)
    items = "\n".join(
        f'<li><a href="{html.escape(page.relative_to(docs).as_posix())}">{page.parent.parent.name}: '
        f"{html.escape(page.parent.name)}</a></li>"
        for page in pages
    )
    text = (
        "<!doctype html>\n<meta charset=utf-8>\n<title>Marquee: how the data fared</title>\n"
        f"<h1>How the data fared</h1>\n<p>One page a table and day, newest first.</p>\n<ul>\n{items}\n</ul>\n"
    )
    (docs / "index.html").write_text(text, encoding="utf-8")


def great_expectations() -> Any:
    """The library, imported where it is used (it takes seconds), telling nobody of its use and saying nothing."""
    # Read once, when it is imported.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        # It, marshmallow and pandas warn of each other's changes; none is ours to mend.
        warnings.simplefilter("ignore")
        import great_expectations as gx
        import great_expectations.expectations
    for name in ("great_expectations", "great_expectations._docs_decorators"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return gx
