"""The launcher of a Neo4j server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import LAUNCHER, Neo4jServer, load_launcher

launcher = load_launcher()
WRITE_A_JAR = """
for word; do
  case $word in -DoutputDirectory=*) mkdir -p "${word#*=}"; echo jar > "${word#*=}/a.jar";; esac
done
"""


def fake(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_no_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launcher.CannotLaunch, match="no Java"):
        launcher.find_java()


@pytest.mark.parametrize(
    ("version", "good"), [("11.0.2", False), ("1.8.0", False), ("17.0.1", True), ("25", True)]
)
def test_a_java_too_old_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    fake(tmp_path / "bin", "java", f"echo 'openjdk version \"{version}\" 2025-01-01' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if good:
        assert launcher.find_java() == str(tmp_path / "bin" / "java")
        return
    with pytest.raises(launcher.CannotLaunch, match="older than Java 17"):
        launcher.find_java()


def test_jars_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "bin", "mvn", f"{WRITE_A_JAR}\necho called >> {tmp_path}/calls")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    jars = launcher.fetch_jars(tmp_path / "cache")
    assert [path.name for path in jars.iterdir()] == ["a.jar"]
    assert launcher.fetch_jars(tmp_path / "cache") == jars
    assert (tmp_path / "calls").read_text() == "called\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [jars.name]


def test_a_maven_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "bin", "mvn", "echo 'could not resolve org.neo4j' ; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(launcher.CannotLaunch, match="could not resolve"):
        launcher.fetch_jars(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_maven_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launcher.CannotLaunch, match="no Maven"):
        launcher.fetch_jars(tmp_path / "cache")


@pytest.mark.neo4j
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_command_prints_where_the_server_is_and_leaves_nothing_behind(
    neo4j_server: Neo4jServer, tmp_path: Path, end: signal.Signals
) -> None:
    if "LORE_TEST_NEO4J" in os.environ:
        pytest.skip("another server is named")
    process = subprocess.Popen(
        [sys.executable, str(LAUNCHER), "--home", str(tmp_path / "home"), "--heap", "256m"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        address = process.stdout.readline().strip()
        found = re.fullmatch(r"bolt://neo4j:([^@]+)@127\.0\.0\.1:(\d+)", address)
        assert found is not None, address
        assert (tmp_path / "home" / "password").read_text() == found[1]
        assert (tmp_path / "home" / "password").stat().st_mode & 0o077 == 0
        process.send_signal(end)
        process.wait(60)
    waited = time.monotonic() + 40
    while (running := servers_of(tmp_path)) and time.monotonic() < waited:
        time.sleep(0.2)
    assert running == []


def servers_of(folder: Path) -> list[int]:
    """Process ids whose command line names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found
