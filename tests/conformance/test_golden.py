"""Data directories of every version of the format: they open, or are refused in one sentence."""

import os
import subprocess
import tarfile

from conftest import Forebay
from golden import contents


def forebay(*words):
    return subprocess.run(
        [os.environ["FOREBAY_BIN"], *map(str, words)], capture_output=True, text=True, timeout=60
    )


def test_a_directory_of_version_2_opens_and_holds_everything(tmp_path):
    with tarfile.open(contents.ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    data = tmp_path / "data"
    checked = forebay("check", data)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "All is whole." in checked.stdout
    assert list((data / "segments").rglob("*.segment")), "a part of it is in a segment"
    program = Forebay(str(data))
    try:
        contents.find(program)
    finally:
        program.process.terminate()
        assert program.process.wait(60) == 0


def test_a_directory_of_version_1_is_refused_in_one_sentence_and_left_alone(tmp_path):
    identity = tmp_path / "FOREBAY"
    text = "forebay data directory\nversion 1\njournal 0123456789abcdef\n"
    identity.write_text(text)
    off = [word for name in ("sqs", "amqp", "kafka", "http") for word in (f"--{name}", "off")]
    for command in (["serve", *off, "--data-dir", tmp_path], ["check", tmp_path], ["dump", tmp_path]):
        refused = forebay(*command)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert "format version 1" in refused.stderr and "start this one on a new" in refused.stderr
    assert identity.read_text() == text
    assert not (tmp_path / "journal").exists()
