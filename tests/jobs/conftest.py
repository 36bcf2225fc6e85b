"""What several files of tests are about."""

import shutil
from collections.abc import Iterator

import pytest
from recorded_nights import Recorded, record_nights


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Two nights, recorded once for each process of tests."""
    folder = tmp_path_factory.mktemp("nights")
    yield record_nights(folder)
    shutil.rmtree(folder)
