from __future__ import annotations

from pathlib import Path

import pytest

from kg.errors import InputError, UsageError
from recommender.data.side import read_friends, read_item_texts


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_texts_come_in_the_order_of_the_items(tmp_path: Path) -> None:
    rows = written(tmp_path / "t.csv", 'item_id,text\nb,"two, three"\na,one\nz,other\n')
    assert read_item_texts(rows, ["a", "b", "c"]) == ("one", "two, three", "")
    lines = written(tmp_path / "t.jsonl", '{"item": "c", "title": "ü"}\n')
    assert read_item_texts(lines, ["a", "b", "c"]) == ("", "", "ü")


def test_friends_are_pairs_of_known_users_once(tmp_path: Path) -> None:
    rows = written(tmp_path / "f.csv", "user_id,friend_id\nb,a\na,b\na,a\na,zed\nc,b\n")
    assert read_friends(rows, ["a", "b", "c"]).tolist() == [[0, 1], [1, 2]]
    bare = written(tmp_path / "f.dat", "a\tb\t1\n")
    assert read_friends(bare, ["a", "b", "c"]).tolist() == [[0, 1]]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_item_texts(tmp_path / "none.csv", ["a"])
    with pytest.raises(InputError, match=r"row 2 has no column for a text; it has 'item_id', 'words'"):
        read_item_texts(written(tmp_path / "1.csv", "item_id,words\na,b\n"), ["a"])
    with pytest.raises(InputError, match="none of its 1 items"):
        read_item_texts(written(tmp_path / "2.csv", "item_id,text\nx,b\n"), ["a"])
    with pytest.raises(InputError, match="cannot be parsed"):
        read_item_texts(written(tmp_path / "3.jsonl", "{\n"), ["a"])
    with pytest.raises(InputError, match="names no two users"):
        read_friends(written(tmp_path / "4.csv", "user_id,other\na,b\n"), ["a"])
    with pytest.raises(InputError, match="no two of its users"):
        read_friends(written(tmp_path / "5.csv", "user_id,friend_id\nx,y\n"), ["a"])
    (tmp_path / "6.csv").write_bytes(b"item_id,text\na,\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_item_texts(tmp_path / "6.csv", ["a"])
