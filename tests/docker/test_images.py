"""What the container files name is really there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from loregraph.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_image_copies_every_package_and_nothing_that_is_not_there() -> None:
    copied = [
        name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    ]
    assert all((ROOT / name).exists() for name in copied)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied)


def test_the_image_installs_known_extras_and_no_torch() -> None:
    found = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert found is not None
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [requirement for extra in found[1].split(",") for requirement in extras[extra]]
    assert not [
        requirement for requirement in needed if "torch" in requirement or "loregraph[" in requirement
    ]


def test_compose_sets_only_settings_that_exist(tmp_path: Path) -> None:
    environment = dict.fromkeys(re.findall(r"^ +(LORE_[A-Z_]+):", COMPOSE, re.MULTILINE), "0" * 64)
    assert len(environment) == 3
    (tmp_path / "lore.toml").write_text("")
    settings = read_settings(tmp_path / "lore.toml", environment)
    assert (settings.store.url, settings.server.key_hashes) == ("0" * 64, ("0" * 64,))


def test_compose_and_the_tests_run_the_same_line_of_neo4j() -> None:
    jars = re.search(
        r"<neo4j\.version>(\d+\.\d+)\.", (ROOT / "docker/neo4j/pom.xml").read_text(encoding="utf-8")
    )
    assert jars is not None
    assert f"image: neo4j:{jars[1]}-community" in COMPOSE
