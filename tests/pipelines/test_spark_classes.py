"""The archive of Spark's classes: made once, taken from then on, and never in anybody's way."""

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pipelines import spark_classes
from pipelines.spark_classes import folder_of_environment, kept_classes


class Jvm:
    """Writes the archive that its flags ask for when it ends, as a JVM does."""

    def __init__(self) -> None:
        self.ends = 0
        self.flags = ""

    def end(self) -> None:
        self.ends += 1
        for flag in shlex.split(self.flags):
            name, _, value = flag.partition("=")
            if name == "-XX:ArchiveClassesAtExit":
                Path(value).write_text("classes")


def one_session(folder) -> Jvm:
    jvm = Jvm()
    with kept_classes(folder, jvm.end) as jvm.flags:
        pass
    return jvm


def archives(folder) -> list:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_first_jvm_makes_the_archive_and_the_next_takes_it(tmp_path):
    first = one_session(tmp_path / "a cache")
    (archive,) = archives(tmp_path)
    second = one_session(tmp_path / "a cache")
    assert "ArchiveClassesAtExit" in first.flags
    assert first.ends == 1
    assert f"-XX:SharedArchiveFile={archive}" in shlex.split(second.flags)
    assert second.ends == 0
    assert archives(tmp_path) == [archive]
    assert archive.read_text() == "classes"


def test_a_job_that_fails_leaves_nothing_behind_and_is_not_waited_for(tmp_path):
    jvm = Jvm()
    with pytest.raises(RuntimeError), kept_classes(tmp_path, jvm.end) as jvm.flags:
        raise RuntimeError
    assert jvm.ends == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_left_is_removed_a_day_later(tmp_path):
    for name, hours in ((".making-old", 25), (".making-now", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spark-0.jsa").write_text("half")
        at = time.time() - hours * 3600
        os.utime(tmp_path / name, (at, at))
    one_session(tmp_path)
    assert not (tmp_path / ".making-old").exists()
    assert (tmp_path / ".making-now").exists()


def test_a_jvm_that_makes_no_archive_is_no_failure(tmp_path):
    with kept_classes(tmp_path, lambda: None) as flags:
        assert flags
    assert list(tmp_path.iterdir()) == []


def test_another_java_or_spark_makes_an_archive_of_its_own_and_takes_the_old_ones_place(tmp_path, monkeypatch):
    one_session(tmp_path)
    (old,) = archives(tmp_path)
    monkeypatch.setattr(spark_classes.pyspark, "__version__", "99.0")
    one_session(tmp_path)
    (new,) = archives(tmp_path)
    assert new != old


def test_where_nothing_can_be_written_spark_starts_without_flags(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with kept_classes(tmp_path / "file" / "cache", lambda: None) as flags:
        assert flags == ""


def test_a_broken_archive_is_passed_over_without_a_word(tmp_path):
    java = shutil.which("java")
    if java is None:
        pytest.skip("there is no java")
    one_session(tmp_path)
    with kept_classes(tmp_path, lambda: None) as flags:
        said = [
            subprocess.run([java, *words, "-version"], check=True, capture_output=True, text=True)
            for words in ([], shlex.split(flags))
        ]
    assert said[0].stdout == said[1].stdout
    assert said[0].stderr.replace(", sharing", "") == said[1].stderr


def test_the_archive_lies_with_the_python_environment():
    assert folder_of_environment().is_absolute()
