"""Write the data dictionary from the declarations: python -m jobs.describe_tables"""

from pathlib import Path

from pipelines.command_line import run, say_result
from pipelines.data_dictionary import data_dictionary


def main(path: Path = Path("docs/data-dictionary.md")) -> None:
    """Write the page.

    Args:
        path: where to.
    """
    path.write_text(data_dictionary(), encoding="utf-8")
    say_result({"job": "describe_tables", "path": str(path)})


if __name__ == "__main__":
    run(main, description=__doc__)
