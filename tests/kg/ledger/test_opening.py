"""The file: opening, damage, other processes, threads."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kg.errors import LedgerError, StoreLocked, UsageError
from kg.facts import Status
from kg.ledger import connection
from kg.ledger.ledger import Ledger
from tests.kg.ledger.making import ALIEN, SCOTT, make, only_edge, open_ledger, shown

ROOT = Path(__file__).parents[3]
TEXT = "Alien was made by Ridley Scott."

_WRITER = """
import sys
from pathlib import Path
from kg.facts import Entity
from kg.ledger.ledger import Ledger
from tests.kg.ledger.making import make

name, count = sys.argv[2], int(sys.argv[3])
with Ledger(Path(sys.argv[1])) as ledger:
    print("open", flush=True)
    for number in range(count):
        film = Entity.of("Film", f"F{number}")
        person = Entity.of("Person", f"P{number % 7}")
        text = f"F{number} by P{number % 7}, says {name}"
        ledger.put_document(*make(text, (film, "BY", person), (film, "year", number), uri=f"{name}{number}"))
        print(number, flush=True)
"""


def _write(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), name, str(count)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        before, version, token = shown(ledger), ledger.version, ledger.token
    with Ledger(path) as ledger:
        assert (shown(ledger), ledger.version, ledger.token) == (before, version, token)
    assert [found.name for found in tmp_path.iterdir()] == ["ledger.db"]


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.version == 1


def test_what_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, and long enough to be looked at\n" * 100)
    with pytest.raises(LedgerError, match="not an SQLite file"):
        Ledger(text)
    assert text.read_text().startswith("these are notes")

    other = tmp_path / "other.db"
    with sqlite3.connect(other) as made:
        made.execute("CREATE TABLE things(name)")
    made.close()
    with pytest.raises(LedgerError, match="another program"):
        Ledger(other)
    with pytest.raises(LedgerError, match="folder"):
        Ledger(tmp_path)
    with pytest.raises(LedgerError, match=r"does not exist.*lore init"):
        Ledger(tmp_path / "no" / "ledger.db")
    assert not (tmp_path / "no").exists()


def test_a_ledger_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA user_version = 99")
    made.close()
    with pytest.raises(LedgerError, match=r"format 99.*reads format 1.*ingest again"):
        Ledger(path)


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        for number in range(200):
            ledger.put_document(*make(f"Alien {number}", (ALIEN, "n", number), uri=f"{number}"))
    data = bytearray(path.read_bytes())
    for start in range(8192, len(data) - 4096, 8192):
        data[start : start + 4096] = b"\xaa" * 4096
    path.write_bytes(data)

    def use() -> None:
        with Ledger(path) as ledger:
            assert ledger.check() == []
            shown(ledger)

    with pytest.raises(LedgerError, match="backup") as caught:
        use()
    assert str(path) in caught.value.message


def test_a_truncated_file_is_damage_not_an_empty_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(path)


def test_the_check_finds_what_is_derived_wrongly() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT), (ALIEN, "year", 1979)))
        assert ledger.check() == []
        tampered = ledger._database.connection
        for statement, complaint in (
            ("UPDATE entity SET canonical = 1 WHERE number = 2", "canonical"),
            ("UPDATE assertion SET edge = 2 WHERE position = 0", "another edge"),
            ("UPDATE wording SET uses = 9 WHERE kind = 1", "counted wrongly"),
            ("UPDATE document SET text = 'x'", "not the one"),
            ("DELETE FROM place", "no place"),
        ):
            before = ledger.path.with_name("before.db")
            ledger.backup(before)
            tampered.execute(statement)
            assert any(complaint in line for line in ledger.check()), statement
            with sqlite3.connect(before) as kept:
                kept.backup(tampered)
            kept.close()
            before.unlink()
            assert ledger.check() == []


def test_a_backup_is_a_ledger_and_never_overwrites(tmp_path: Path) -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        ledger.backup(tmp_path / "copy.db")
        with Ledger(tmp_path / "copy.db") as copy:
            assert shown(copy) == shown(ledger)
            assert (copy.version, copy.token) == (ledger.version, ledger.token)
        with pytest.raises(UsageError, match="exists"):
            ledger.backup(tmp_path / "copy.db")


def test_a_closed_ledger_says_so() -> None:
    with open_ledger() as ledger:
        ledger.close()
        with pytest.raises(LedgerError, match="closed"):
            ledger.holds("a")


def test_a_writer_that_waits_too_long_says_who_holds_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.1)
    with open_ledger() as ledger, Ledger(ledger.path) as other:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        with ledger.batch():
            ledger.drop_place("a.txt")
            with pytest.raises(StoreLocked, match="another process"):
                other.drop_place("a.txt")
            assert len(shown(other)["edges"]) == 1  # readers never wait
        other.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        assert other.check() == []


def test_two_processes_write_by_turns(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writers = [_write(path, name, 40) for name in ("one", "two")]
    for writer in writers:
        writer.communicate(timeout=300)
        assert writer.returncode == 0
    with Ledger(path) as ledger:
        assert ledger.version == 81
        found = ledger.statistics()
        assert (found.documents, found.entities, found.facts) == (80, 47, 80)
        assert {edge[8] for edge in shown(ledger)["edges"].values()} == {2}
        assert ledger.check() == []


def test_killing_a_writer_loses_nothing_it_had_finished(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    for moment in range(5):
        writer = _write(path, f"{moment}-", 10_000)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last >= 3 * moment:
                break
        time.sleep(0.0007 * moment)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        with Ledger(path) as ledger:
            stored = [row.uris[0] for row in ledger.documents() if row.uris[0].startswith(f"{moment}-")]
            assert len(stored) >= last + 1
            assert stored == [f"{moment}-{number}" for number in range(len(stored))]
            assert ledger.check() == []


def test_other_threads_may_read_while_one_writes() -> None:
    with open_ledger() as ledger:
        ledger.put_document(*make(TEXT, (ALIEN, "DIRECTED_BY", SCOTT)))
        edge = only_edge(ledger)
        problems: list[BaseException] = []
        done = threading.Event()

        def read() -> None:
            try:
                while not done.is_set():
                    assert len(ledger.provenance(edge)) == 1
                    assert ledger.delta(1).edges.num_rows == 1
                    assert any(fact.edge_id == edge for fact in ledger.facts())
                    assert ledger.entity(ALIEN.id) is not None
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(60):
            ledger.put_document(*make(f"Alien {number}", (ALIEN, "n", number), uri=f"{number}"))
        done.set()
        for thread in threads:
            thread.join()
        assert problems == []
        assert ledger.check() == []


def test_a_stream_left_unfinished_does_not_hold_the_file(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        for number in range(5):
            ledger.put_document(*make(f"Alien {number}", (ALIEN, "n", number), uri=f"{number}"))
        first = next(iter(ledger.facts(statuses=tuple(Status))))
        assert first.literal == 0
        ledger.checkpoint()
        assert (tmp_path / "ledger.db-wal").stat().st_size == 0
