"""The declarations hold together."""

import ast
from pathlib import Path

import pytest

from feature_defs.declarations import Array, Between, Near, Severity, Table
from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.tables import ALL_TABLES, LAKE_TABLES
from feature_defs.users import PROTECTED_ATTRIBUTES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_a_table_has_named_and_described_columns_a_key_and_a_day_among_them(table: Table) -> None:
    assert len(set(table.names)) == len(table.names)
    assert set(table.key) <= set(table.names)
    assert table.key
    assert table.day_of is None or table.day_of in table.names
    assert all(field.description and field.name == field.name.lower() for field in table)
    assert "day" not in table.names, "the lake adds it"


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_names_tell_what_a_column_holds(table: Table) -> None:
    for field in table:
        element = field.dtype.element if isinstance(field.dtype, Array) else field.dtype
        if field.name.endswith("_at"):
            assert element == "timestamp", field.name
        if field.name.startswith(("is_", "has_")):
            assert element == "bool", field.name
        if field.name.endswith("_count"):
            assert element in {"int32", "int64"}, field.name
        if field.name.endswith("_share") and not field.name.startswith("is_"):
            assert any(isinstance(rule, Between) and (rule.low, rule.high) == (0, 1) for rule in field.rules)


def test_a_clock_that_is_wrong_sets_its_row_aside_instead_of_refusing_the_day() -> None:
    for table in ALL_TABLES:
        for field in table:
            assert all(rule.severity is Severity.ASIDE for rule in field.rules if isinstance(rule, Near))


def test_protected_attributes_are_columns_of_no_other_table_of_the_lake() -> None:
    protected = set(PROTECTED_ATTRIBUTES.names) - {"user_id"}
    for table in LAKE_TABLES:
        if table is not PROTECTED_ATTRIBUTES:
            assert not protected & set(table.names), table.name


@pytest.mark.parametrize("view", [USER_FEATURES, ITEM_FEATURES], ids=lambda view: view.name)
def test_a_feature_view_has_both_clocks_and_its_features_are_neither_keys_nor_clocks(view) -> None:
    assert {view.timestamp_field, view.created_timestamp_column} <= set(view.table.names)
    assert not set(view.features) & {*view.join_keys, view.timestamp_field, view.created_timestamp_column}
    assert view.features


def test_declarations_import_nothing_but_themselves_and_the_standard_library() -> None:
    allowed = {"feature_defs", "collections", "dataclasses", "datetime", "enum", "typing"}
    for path in (ROOT / "feature_defs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path
