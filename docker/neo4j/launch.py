"""Start a Neo4j Community server from its Maven jars, where there is no container engine.

As a command::

    python docker/neo4j/launch.py                  # a throw-away server; prints its address, Ctrl-C stops it
    python docker/neo4j/launch.py --home DIR       # keeps its data and password in DIR

From Python::

    with launch() as server:
        server.url, server.user, server.password

Needs Java 17 or later and Maven on the path. The jars (118 MB) are fetched once, to ``.cache/neo4j`` under
the repository or to the folder that ``LORE_NEO4J_HOME`` names.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
USER = "neo4j"
SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 30.0
_OPENED = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
_BOLT_HANDSHAKE = bytes.fromhex("6060b017") + bytes.fromhex("00040405 00000004 00000000 00000000")
_CONFIGURATION = """\
server.directories.data={home}/data
server.directories.logs={home}/logs
server.directories.run={home}/run
server.bolt.listen_address=127.0.0.1:{port}
server.bolt.advertised_address=127.0.0.1:{port}
server.http.enabled=false
server.https.enabled=false
dbms.security.auth_enabled=true
dbms.security.allow_csv_import_from_file_urls=false
dbms.usage_report.enabled=false
server.memory.pagecache.size=128m
db.memory.transaction.max=256m
db.transaction.timeout=60s
db.tx_log.preallocate=false
db.tx_log.rotation.retention_policy=false
"""


class CannotLaunch(RuntimeError):
    """No server can be started here; the message says what is missing."""


@dataclass(frozen=True)
class Server:
    """A running server: where it listens and how to log in."""

    url: str
    user: str
    password: str
    home: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Ask the server to stop, wait for it, and kill it where it does not."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def launch(home: Path | None = None, *, heap: str = "768m") -> Iterator[Server]:
    """Run a server for as long as the ``with`` block lasts.

    ``home`` keeps data, configuration and password; left out, a temporary folder is used and removed.
    Raises :class:`CannotLaunch` where Java or Maven is missing, or the server does not come up.
    """
    java = find_java()
    jars = fetch_jars(cache_folder())
    with contextlib.ExitStack() as stack:
        if home is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lore-neo4j-"))
            home = Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        password = _set_password(java, jars, home.resolve())
        server = _start(java, jars, home.resolve(), password, heap)
        stack.callback(server.stop)
        yield server


def cache_folder() -> Path:
    """The folder of the fetched jars: ``LORE_NEO4J_HOME``, else ``.cache/neo4j`` under the repository."""
    named = os.environ.get("LORE_NEO4J_HOME")
    return Path(named) if named else HERE.parent.parent / ".cache" / "neo4j"


def find_java() -> str:
    """The path of a Java of version 17 or later: that of ``JAVA_HOME``, else the one on the path."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        raise CannotLaunch("there is no Java here: install OpenJDK 17 or later.")
    if _java_version(java) < 17:
        raise CannotLaunch(f"{java} is older than Java 17: install OpenJDK 17 or later.")
    return java


def fetch_jars(cache: Path) -> Path:
    """Return the folder of the server's jars, fetching them with Maven on the first call."""
    found = re.search(r"<neo4j\.version>([^<]+)<", (HERE / "pom.xml").read_text(encoding="utf-8"))
    assert found is not None, "pom.xml names no neo4j.version"
    jars = cache / f"lib-{found[1]}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotLaunch("there is no Maven here to fetch Neo4j with: install Maven.")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as folder:
        command = [
            maven, "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={folder}/lib",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotLaunch(f"Maven could not fetch Neo4j: {(done.stdout + done.stderr)[-600:].strip()}")
        with contextlib.suppress(OSError):  # another run was faster: its folder is as good
            os.rename(f"{folder}/lib", jars)
    return jars


def _java_version(java: str) -> int:
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else 0


def _set_password(java: str, jars: Path, home: Path) -> str:
    """Return the password kept in ``home``; the first time, make one up and hand it to the server."""
    kept = home / "password"
    if kept.exists():
        return kept.read_text(encoding="utf-8").strip()
    password = secrets.token_urlsafe(16)
    (home / "conf").mkdir(exist_ok=True)
    _write_configuration(home, 0)
    done = subprocess.run(
        [java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", "org.neo4j.cli.AdminTool",
         "dbms", "set-initial-password", "--", password],
        capture_output=True, text=True, check=False,
        env={**os.environ, "NEO4J_HOME": str(home), "NEO4J_CONF": str(home / "conf")},
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotLaunch(f"the first password could not be set: {done.stderr[-600:].strip()}")
    kept.touch(mode=0o600)
    kept.write_text(password, encoding="utf-8")
    return password


def _write_configuration(home: Path, port: int) -> None:
    text = _CONFIGURATION.format(home=home, port=port)
    (home / "conf" / "neo4j.conf").write_text(text, encoding="utf-8")


def _start(java: str, jars: Path, home: Path, password: str, heap: str) -> Server:
    """Start the server on a free port; try another one where somebody took it in between."""
    for _ in range(3):
        port = _free_port()
        _write_configuration(home, port)
        with (home / "console.log").open("ab") as log:
            process = subprocess.Popen(
                _command(java, jars, home, heap), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        server = Server(f"bolt://127.0.0.1:{port}", USER, password, home, process)
        if _answers(server, port):
            return server
        server.stop()
    said = (home / "console.log").read_text(encoding="utf-8", errors="replace")
    raise CannotLaunch(f"Neo4j does not come up; it said: {said[-800:].strip()}")


def _command(java: str, jars: Path, home: Path, heap: str) -> list[str]:
    flags = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    if _java_version(java) >= 21:
        flags.append("--enable-native-access=ALL-UNNAMED")
    return [
        java, "-Xms256m", f"-Xmx{heap}", "-XX:+UseSerialGC", *flags, "-cp", f"{jars}/*",
        "org.neo4j.server.CommunityEntryPoint",
        f"--home-dir={home}", f"--config-dir={home}/conf", "--console-mode",
    ]  # fmt: skip


def _die_with_parent() -> None:
    """Where the kernel can, have the server stopped when the launching process is killed."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(server: Server, port: int) -> bool:
    """Wait until the server agrees on a Bolt version, or is gone."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.process.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        ):
            connection.sendall(_BOLT_HANDSHAKE)
            if len(connection.recv(4)) == 4:
                return True
        time.sleep(0.1)
    return False


def main() -> int:
    """Start a server, print where it is, and wait for Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Start a Neo4j server from its Maven jars.")
    parser.add_argument("--home", type=Path, help="keep data and password in this folder")
    parser.add_argument("--heap", default="768m", help="the server's heap (default 768m)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with launch(options.home, heap=options.heap) as server:
            address = server.url.replace("://", f"://{server.user}:{server.password}@")
            print(address, flush=True)
            print("Ctrl-C stops the server.", file=sys.stderr)
            server.process.wait()
            return 1
    except KeyboardInterrupt:
        return 0
    except CannotLaunch as problem:
        print(f"launch.py: {problem}", file=sys.stderr)
        return 69


if __name__ == "__main__":
    sys.exit(main())
