from pathlib import Path

import pytest

from kg.errors import ConfigurationError
from loregraph.settings import read_settings

HASH = "0123456789abcdef" * 4


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
        ("[server]\nport = 'many'\n", {}, "lore.toml: server.port must be a whole number, not 'many'."),
        ("[server]\nport = 65536\n", {}, "server.port must be at most 65535, not 65536."),
        (
            "[extraction]\nextractor = 'magic'\n",
            {},
            "extraction.extractor must be one of local, llm, not 'magic'.",
        ),
        ("[extraction]\nresolve = 'perhaps'\n", {}, "extraction.resolve must be true or false"),
        ("[language]\nbudget_dollars = 0\n", {}, "language.budget_dollars must be above 0"),
        ("[server]\nkey_hashes = 'x'\n", {}, "server.key_hashes must be a list"),
        ("[server]\nkey_hashes = ['open sesame']\n", {}, "printf %s KEY | sha256sum"),
        ("", {"LORE_SERVER__KEY_HASHES": f"{HASH},{HASH[1:]}"}, "printf %s KEY | sha256sum"),
        ("", {"LORE_STORE": "x"}, "environment variable LORE_STORE: store is a section"),
        ("", {"LORE_STORE": "x"}, "Write LORE_STORE__URL=…"),
        ("", {"LORE_STORE__": "x"}, "Write LORE_STORE__URL=…"),
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


def test_a_wrong_value_is_blamed_on_where_it_was_set(tmp_path: Path) -> None:
    path = written(tmp_path, "[server]\nport = 9000\n")
    with pytest.raises(ConfigurationError) as refused:
        read_settings(path, {"LORE_SERVER__PORT": "many", "LORE_STORE__URL": "here"})
    assert refused.value.where == "environment variable LORE_SERVER__PORT"
    path = written(tmp_path, "[server]\nport = 'many'\n")
    with pytest.raises(ConfigurationError) as refused:
        read_settings(path, {"LORE_SERVER__HOST": "127.0.0.1"})
    assert refused.value.where == str(path)


@pytest.mark.parametrize("url", ["", " ", ".", "..", "./", "graph/..", "../elsewhere"])
def test_the_graph_needs_a_folder_of_its_own(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="Name a folder inside the workspace, or a bolt:// URL"):
        read_settings(written(tmp_path, f'[store]\nurl = "{url}"\n'), {})
    with pytest.raises(ConfigurationError, match="LORE_STORE__URL"):
        read_settings(written(tmp_path, ""), {"LORE_STORE__URL": url})


def test_key_hashes_are_read_with_blanks_and_capitals(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    found = read_settings(path, {"LORE_SERVER__KEY_HASHES": f" {HASH.upper()} , {HASH[::-1]},"}).server
    assert found.key_hashes == (HASH, HASH[::-1])
    assert read_settings(path, {"LORE_SERVER__KEY_HASHES": " "}).server.key_hashes == ()


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    for text in ("[store]\npassword = 4711\n", "[server]\nkey_hashes = ['4711']\n"):
        with pytest.raises(ConfigurationError) as refused:
            read_settings(written(tmp_path, text), {})
        assert "4711" not in refused.value.message
