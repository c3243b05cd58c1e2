from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kg.errors import InputError, UsageError
from recommender.data.readers import read_interactions

PAIRS = [("u1", "a"), ("u1", "b"), ("u2", "a")]


def pairs(path: Path) -> list[tuple[str, str]]:
    found = read_interactions(path)
    return [(found.user_ids[u], found.item_ids[i]) for u, i in zip(found.user, found.item, strict=True)]


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", "user_id,item_id\nu1,a\nu1,b\nu2,a\n"),
        ("log.csv", '\ufeffitem_id,"user_id",note\na,u1,"x, y"\nb,u1,\na,u2,z\n'),
        ("log.tsv", "userId\titemId\nu1\ta\nu1\tb\nu2\ta\n"),
        ("log.inter", "user_id:token\titem_id:token\trating:float\nu1\ta\t1\nu1\tb\t2\nu2\ta\t3\n"),
        ("user_artists.dat", "userID\tartistID\tweight\nu1\ta\t13883\nu1\tb\t5\nu2\ta\t1\n"),
        ("ratings.dat", "who\twhat\tmuch\nu1\ta\t13883\nu1\tb\t5\nu2\ta\t1\n"),
        ("train.txt", "u1 a b\nu3\nu2 a\n"),
    ],
)
def test_every_format_gives_the_same_pairs(tmp_path: Path, name: str, text: str) -> None:
    assert pairs(write(tmp_path, name, text)) == PAIRS


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    table = {"user_id": ["u1", "u1", "u2"], "item_id": ["a", "b", "a"], "rating": [1.0, 4.0, 5.0]}
    pq.write_table(pa.table(table), path)
    assert pairs(path) == PAIRS
    assert len(read_interactions(path, positive_from=4)) == 2


def test_times_are_seconds_or_iso(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\nu,a,881250949\nu,b,1997-12-04T15:55:49Z\nu,c,8.81250949e8\n"
    found = read_interactions(write(tmp_path, "log.csv", text))
    assert found.time is not None
    assert found.time.tolist() == [881250949] * 3


def test_catalogue_adds_items_that_nobody_had(tmp_path: Path) -> None:
    path = write(tmp_path, "log.csv", "user_id,item_id\nu,b\n")
    assert read_interactions(path, catalogue=["a", "b", "c"]).item_ids == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("log.csv", "user,product\nu,a\n", "column 'item_id' is missing; there are 'user', 'product'"),
        ("log.csv", "item_id\na\n", "column 'user_id' is missing"),
        ("log.csv", "user_id,item_id\nu,a\nu\n", "row 3 has 1 fields where the header has 2"),
        ("log.csv", "user_id,item_id\nu,a\nu,\n", "row 3 has no item id"),
        ("log.csv", "user_id,item_id,rating\nu,a,3\nu,b,good\n", "row 3: rating|weight 'good' is no number"),
        ("log.csv", "user_id,item_id,rating\nu,a,3\nu,b,inf\n", "row 3: .* is not finite"),
        ("log.csv", "user_id,item_id,time\nu,a,yesterday\n", "row 2: timestamp 'yesterday'"),
        ("log.csv", "", "the file is empty"),
        ("log.csv", "user_id,item_id\n", "holds no interaction"),
        ("train.txt", "", "holds no interaction"),
        ("log.xls", "x", "are not read"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_interactions(write(tmp_path, name, text))
    assert name in caught.value.message


def test_missing_file_wrong_encoding_and_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_interactions(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_bytes(b"user_id,item_id\n\xff\xfe,a\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_interactions(tmp_path / "log.csv")
    (tmp_path / "log.parquet").write_bytes(b"PAR0")
    with pytest.raises(InputError, match="no Parquet file"):
        read_interactions(tmp_path / "log.parquet")


def test_thresholds_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a rating"):
        read_interactions(write(tmp_path, "a.csv", "user_id,item_id\nu,a\n"), positive_from=4)
    with pytest.raises(InputError, match="the highest is 3"):
        read_interactions(write(tmp_path, "b.csv", "user_id,item_id,rating\nu,a,3\n"), positive_from=4)
