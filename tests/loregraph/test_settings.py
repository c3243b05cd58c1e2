from pathlib import Path

import pytest

from kg.errors import ConfigurationError
from loregraph.settings import read_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "lore.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_wins_over_default_and_environment_over_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[store]\nurl = "here"\n[server]\nport = 9000\n')
    assert read_settings(path, {}).store.url == "here"
    assert read_settings(path, {"LORE_STORE__URL": "bolt://x"}).store.url == "bolt://x"
    assert read_settings(path, {"LORE_SERVER__PORT": "9001"}).server.port == 9001
    assert read_settings(written(tmp_path, ""), {}).store.url == "graph"


@pytest.mark.parametrize(
    ("text", "environment", "says"),
    [
        ("[stroe]\n", {}, "Did you mean store?"),
        ("[store]\nulr = 'x'\n", {}, "Did you mean store.url?"),
        ("", {"LORE_STORE__PASWORD": "x"}, "Did you mean store.password?"),
        ("[server]\nport = 'many'\n", {}, "server.port"),
        ("[extraction]\nextractor = 'magic'\n", {}, "extraction.extractor"),
        ("store = 3\n", {}, "write [store]"),
        ("[store\n", {}, "not valid TOML"),
    ],
)
def test_wrong_settings_are_refused_with_the_remedy(
    tmp_path: Path, text: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_settings(written(tmp_path, text), environment)
    assert says in refused.value.message


def test_a_password_is_not_printed(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, ""), {"LORE_STORE__PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert settings.store.password.get_secret_value() == "hunter2"
