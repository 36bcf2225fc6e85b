"""What is written of the tables is what is declared of them."""

from pathlib import Path

from feature_defs.tables import ALL_TABLES
from pipelines.data_dictionary import data_dictionary

PAGE = Path(__file__).parents[2] / "docs" / "data-dictionary.md"


def test_the_page_in_docs_is_the_one_that_the_declarations_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == data_dictionary(), "run `make docs`"


def test_every_column_of_every_table_is_on_the_page() -> None:
    page = data_dictionary()
    for table in ALL_TABLES:
        section = page.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        assert all(f"| `{name}` |" in section for name in table.names)
