"""Makes the golden data directory with the program that FOREBAY_BIN names."""

import pathlib
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from conftest import Forebay, until
from golden import contents

SMALL = {"FOREBAY_JOURNAL_FILE": "4MiB", "FOREBAY_JOURNAL_RETAIN": "0"}


def stop(program):
    program.process.terminate()
    assert program.process.wait(60) == 0


def main():
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        program = Forebay(str(data), SMALL)
        contents.put(program)
        stop(program)
        # With a disk that is nearly full, it works the journal off as far as it can.
        program = Forebay(str(data), {**SMALL, "FOREBAY_MIN_FREE": "1000TiB"})
        contents.fill_up(program)
        until("a segment", lambda: list((data / "segments").rglob("*.segment")))
        until("one journal file", lambda: len(list((data / "journal").glob("*.journal"))) <= 2)
        stop(program)
        for spare in (data / "journal").glob("*.spare"):
            spare.unlink()
        with tarfile.open(contents.ARCHIVE, "w:xz", preset=9) as archive:
            archive.add(data, arcname="data")
    print(contents.ARCHIVE, contents.ARCHIVE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
