from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kg.errors import InputError
from recommender.data.datasets import read_dataset
from recommender.data.splits import random_split
from recommender.graph.joint import JointGraph
from recommender.models.base import SideData
from recommender.models.registry import MODELS
from recommender.training.train import Options, train
from tests.recommender.data.test_datasets import DATA, needs_data, write

FILES = {
    "user_film__dat": "1\t1\t5\n1\t2\t1\n2\t1\t4\n3\t3\t2\n",
    "user_user__dat": "1,2\n2,1\n1,9\n3,3\n",
    "user_city__dat": "1 7\n",
    "film_genre__dat": "1 1 1\n2 1 1\n3 2 1\n4 2 1\n",
    "film_film__dat": "1\t2\n",
    "genre_mood__dat": "1\tvery sad\n",
}


def test_every_kind_of_file(tmp_path: Path) -> None:
    found = read_dataset(write(tmp_path, **FILES))
    known = found.interactions
    assert (known.user_ids, known.item_ids) == (("1", "2", "3"), ("1", "2", "3"))
    assert known.weight.tolist() == [5, 1, 4, 2]
    assert found.friends is not None
    assert found.friends.tolist() == [[0, 1]]
    assert found.links == {str(number): f"film/{number}" for number in (1, 2, 3, 4)}
    snapshot = found.snapshot
    said = {
        (snapshot.entity_ids[head], snapshot.relation_names[relation], snapshot.entity_ids[tail])
        for head, relation, tail in snapshot.triples.tolist()
    }
    assert said == {
        ("film/1", "HAS_GENRE", "genre/1"),
        ("film/2", "HAS_GENRE", "genre/1"),
        ("film/3", "HAS_GENRE", "genre/2"),
        ("film/4", "HAS_GENRE", "genre/2"),
        ("film/1", "HAS_FILM", "film/2"),
        ("genre/1", "HAS_MOOD", "mood/very sad"),
    }
    assert dict(zip(snapshot.entity_ids, snapshot.entity_types, strict=True))["mood/very sad"] == "mood"
    assert found.notes == ("user_city.dat is left out: what users are like does not enter the graph",)


def test_the_threshold_keeps_all_ratings(tmp_path: Path) -> None:
    found = read_dataset(write(tmp_path, **FILES), positive_from=4)
    assert len(found.interactions) == 2
    assert found.rated is not None
    assert len(found.rated) == 4
    assert found.rated.user_ids == found.interactions.user_ids
    assert found.rated.item_ids == found.interactions.item_ids


def test_interactions_alone(tmp_path: Path) -> None:
    found = read_dataset(write(tmp_path, user_song__dat="a b\nc d\n"))
    assert (len(found.interactions), len(found.snapshot.triples), found.friends) == (2, 0, None)
    assert found.links == {"b": "song/b", "d": "song/d"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"film_genre__dat": "1 1 1\n2\n"}, r"row 2 is not .left right. or .left right weight.: '2'"),
        ({"film_genre__dat": "1 1 1\n2 2\n"}, "row 2 has 2 cells where the first has 3"),
        ({"user_film__dat": "1 1 good\n"}, "row 1: weight 'good' is no number"),
        ({"user_film__dat": "1 1 nan\n"}, "row 1: weight is not finite"),
        ({"user_film__dat": ""}, "holds no interaction"),
        ({"user_user__dat": "8 9\n"}, "no two of its users are in the interactions"),
        ({"user_book__dat": "1 1\n", "book_genre__dat": "1 1\n"}, "may be: user_book.dat, user_film.dat"),
        ({"notes__dat": "1 1\n"}, "does not say what it links"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_dataset(write(tmp_path, **{**FILES, **files}))


def test_no_or_unreachable_threshold(tmp_path: Path) -> None:
    folder = write(tmp_path, user_song__dat="a b\nc d\n")
    with pytest.raises(InputError, match="needs a third column"):
        read_dataset(folder, positive_from=4)
    with pytest.raises(InputError, match="no row reaches 6; the highest is 5"):
        read_dataset(write(tmp_path, user_song__dat="a b 5\nc d 1\n"), positive_from=6)
    (tmp_path / "user_song.dat").unlink()
    with pytest.raises(InputError, match=r"it may be: none"):
        read_dataset(write(tmp_path, user_user__dat="a c\n"))


@pytest.mark.parametrize("name", ["shine", "semrec", "hetemf"])
def test_models_of_ratings_and_friends_train_on_it(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    rows = {(rng.integers(20), rng.integers(15)): rng.integers(1, 6) for _ in range(200)}
    found = read_dataset(
        write(
            tmp_path,
            user_film__dat="".join(f"{u} {i} {rating}\n" for (u, i), rating in rows.items()),
            film_genre__dat="".join(f"{i} {i % 3}\n" for i in range(15)),
            user_user__dat="".join(f"{u} {(u + 1) % 20}\n" for u in range(20)),
        ),
        positive_from=4,
    )
    split = random_split(found.interactions, np.random.default_rng(0))
    graph = JointGraph.build(split, found.snapshot, found.links)
    side = SideData(rated=found.rated, friends=found.friends)
    trained = train(name, split, graph, side=side, options=Options(epochs=1, device="cpu"))
    assert MODELS[name].needs <= {"ratings", "graph"}
    assert np.isfinite(trained.model.score(np.arange(20))).all()


def counted(path: Path) -> tuple[int, set[str], set[str]]:
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return len({(row[0], row[1]) for row in rows}), {row[0] for row in rows}, {row[1] for row in rows}


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "item", "attributes"),
    [("hin-lastfm", "artist", ["tag"]), ("hin-yelp", "business", ["category", "city"])],
)
def test_published_networks(folder: str, item: str, attributes: list[str]) -> None:
    found = read_dataset(DATA / folder)
    n_pairs, users, items = counted(DATA / folder / f"user_{item}.dat")
    whole = found.interactions
    assert (len(whole), whole.n_users, whole.n_items) == (n_pairs, len(users), len(items))
    n_triples, n_entities, described = 0, 0, set(items)
    for attribute in attributes:
        n, heads, tails = counted(DATA / folder / f"{item}_{attribute}.dat")
        n_triples, n_entities, described = n_triples + n, n_entities + len(tails), described | heads
    assert len(found.snapshot.triples) == n_triples
    assert found.snapshot.n_entities == n_entities + len(described)
    assert found.snapshot.relation_names == sorted(f"HAS_{name.upper()}" for name in attributes)
    assert found.friends is not None
    lines = (DATA / folder / "user_user.dat").read_text(encoding="utf-8").splitlines()
    both_ways = [line.split()[:2] for line in lines]
    friends = {frozenset(pair) for pair in both_ways if users.issuperset(pair)}
    assert len(found.friends) == len(friends)
    assert len(found.notes) == (folder == "hin-yelp")
