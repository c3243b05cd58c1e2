"""The data that the recommenders are timed on, in the project's form and in RecBole's atomic files.

``music``   Last.FM with the knowledge graph of KGCN's authors, from the shared data folder; 8:1:1 per user.
``book-F``  generated: F times the size of Amazon-Book as KGAT's authors published it. At F = 1: 70,679 users,
            24,915 items, 677,147 training pairs, 113,487 entities, 39 relations, 2,557,746 triples.

The interactions of Amazon-Book can be had, but not together with its graph, so all of ``book`` is generated:
the published counts, with degrees that fall by a power of their rank. It is for timing only. Each user has at
least seven training pairs, one to validate and one to test; each entity stands in a triple, so no tool drops
any. Ids are shuffled: what is popular is not stored side by side.

Both tools read the same three parts, so that both train on the same pairs and rank for the same users.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kg.exchange.triples import KG_HEADER, LINK_HEADER
from kg.snapshot import Snapshot
from recommender.data.datasets import read_dataset
from recommender.data.interactions import Interactions, Ints
from recommender.data.splits import Split, random_split
from recommender.graph.joint import JointGraph

SEED = 20_190_804
INTER_HEADER = ("user_id:token", "item_id:token")
PARTS = ("train", "valid", "test")
PUBLISHED = {"music": ("music-kgcn", None), "movielens": ("ml-100k", 4.0)}
"""Folder of the shared data, and the rating from which a pair counts as positive. RecBole would take data
called ml-100k from its own package."""


@dataclass(frozen=True)
class Size:
    """How much to generate."""

    users: int = 70_679
    items: int = 24_915
    train_pairs: int = 677_147
    held_out_pairs: int = 84_643
    """Of each of the validation and the test part."""
    entities: int = 113_487
    relations: int = 39
    triples: int = 2_557_746

    def times(self, factor: float) -> Size:
        """The same shape at another scale; the number of relations stays."""
        counts = {name: round(getattr(self, name) * factor) for name in self.__dataclass_fields__}
        return Size(**{**counts, "relations": self.relations})


def prepare(name: str, data: Path, work: Path) -> Path:
    """Make a dataset once, in both forms, and return its folder."""
    folder = work / name
    if (folder / "done.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if name in PUBLISHED:
        where, positive_from = PUBLISHED[name]
        dataset = read_dataset(data / "rec" / where, positive_from=positive_from)
        split, snapshot, links = (
            random_split(dataset.interactions, np.random.default_rng(SEED)),
            dataset.snapshot,
            dataset.links,
        )
    else:
        split, snapshot, links = generate(Size().times(float(name.removeprefix("book-"))), SEED)
    write(folder, name, split, snapshot, links)
    counts = {
        "users": split.train.n_users,
        "items": split.train.n_items,
        "train_pairs": len(split.train),
        "entities": snapshot.n_entities,
        "relations": snapshot.n_relations,
        "triples": len(snapshot.triples),
    }
    (folder / "done.json").write_text(json.dumps(counts) + "\n", encoding="utf-8")
    return folder


def write(folder: Path, name: str, split: Split, snapshot: Snapshot, links: Mapping[str, str]) -> None:
    """Write both forms into ``folder``: a snapshot, arrays and links; and RecBole's atomic files."""
    parts = dict(zip(PARTS, (split.train, split.validation, split.test), strict=True))
    users, items = split.train.user_ids, split.train.item_ids
    snapshot.save(folder / "snapshot")
    pairs = {part: np.stack([found.user, found.item]) for part, found in parts.items()}
    np.savez(folder / "pairs.npz", **pairs)  # type: ignore[arg-type]
    ids = {"users": users, "items": items, "links": dict(links)}
    (folder / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
    for part, found in parts.items():
        rows = ((users[u], items[i]) for u, i in zip(found.user.tolist(), found.item.tolist(), strict=True))
        _write_rows(folder / f"{name}.{part}.inter", INTER_HEADER, rows)
    entities, relations = snapshot.entity_ids, snapshot.relation_names
    triples = ((entities[h], relations[r], entities[t]) for h, r, t in snapshot.triples.tolist())
    _write_rows(folder / f"{name}.kg", KG_HEADER, triples)
    # RecBole fails on the link of an item that is in no interaction.
    had = np.unique(np.concatenate([found.item for found in parts.values()]))
    linked = ((items[i], links[items[i]]) for i in had.tolist() if items[i] in links)
    _write_rows(folder / f"{name}.link", LINK_HEADER, linked)


def load(folder: Path, *, with_graph: bool) -> tuple[Split, JointGraph | None]:
    """Read the project's form back."""
    ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    users, items = tuple(ids["users"]), tuple(ids["items"])
    with np.load(folder / "pairs.npz") as pairs:
        split = Split(*(_interactions(users, items, *pairs[part]) for part in PARTS))
    if not with_graph:
        return split, None
    return split, JointGraph.build(split, Snapshot.load(folder / "snapshot"), ids["links"])


def generate(size: Size, seed: int) -> tuple[Split, Snapshot, dict[str, str]]:
    """Interactions, a graph and the links between them, of exactly this size."""
    rng = np.random.default_rng(seed)
    users = tuple(f"u{number:06d}" for number in range(size.users))
    entities = [f"e{number:06d}" for number in range(size.entities)]
    items = tuple(f"i{number:06d}" for number in range(size.items))
    parts = [_interactions(users, items, *pairs) for pairs in _pairs(size, rng)]
    triples = _triples(size, rng)
    snapshot = Snapshot.from_arrays(
        entities,
        entities,
        ["Entity"] * size.entities,
        [f"r{number:02d}" for number in range(size.relations)],
        triples,
        np.ones(len(triples), dtype=np.float32),
        np.ones(len(triples), dtype=np.int32),
        [f"{number:032x}" for number in range(len(triples))],
        version=0,
    )
    return Split(*parts), snapshot, dict(zip(items, entities, strict=False))


def _interactions(users: tuple[str, ...], items: tuple[str, ...], user: Ints, item: Ints) -> Interactions:
    return Interactions(users, items, user, item, np.ones(len(user), dtype=np.float32))


def _pairs(size: Size, rng: np.random.Generator) -> list[tuple[Ints, Ints]]:
    """Users and items of the three parts, sorted, no pair twice."""
    activity = rng.pareto(1.5, size.users) + 0.1
    activity = np.minimum(activity, 300 * activity.mean())
    least = (7, 1, 1)
    counts = [
        n_least + rng.multinomial(total - n_least * size.users, activity / activity.sum())
        for n_least, total in zip(
            least, (size.train_pairs, size.held_out_pairs, size.held_out_pairs), strict=True
        )
    ]
    popularity = _falling(size.items, 0.6, rng)
    user = np.repeat(np.arange(size.users), sum(counts))
    item = _draw(popularity, len(user), rng)
    while True:
        keys = user * size.items + item
        _, first = np.unique(keys, return_index=True)
        again = np.ones(len(keys), dtype=bool)
        again[first] = False
        if not again.any():
            break
        item[again] = _draw(popularity, int(again.sum()), rng)
    place = np.arange(len(user)) - np.repeat(np.cumsum(sum(counts)) - sum(counts), sum(counts))
    ends = np.cumsum(np.stack(counts), axis=0)[:, user]
    part = (place >= ends[0]).astype(np.int64) + (place >= ends[1])
    found = []
    for number in range(3):
        mine = np.sort(keys[part == number])
        found.append((mine // size.items, mine % size.items))
    return found


def _triples(size: Size, rng: np.random.Generator) -> Ints:
    """Head, relation, tail: sorted, distinct, no loops; every entity is the head of at least one."""
    of_items = _falling(size.items, 0.5, rng)
    of_all = _falling(size.entities, 0.8, rng)
    of_tails = _falling(size.entities, 0.9, rng)
    of_relations = _falling(size.relations, 1.0, rng)
    keys = np.empty(0, dtype=np.int64)
    head = np.arange(size.entities)
    while len(head):
        tail = _draw(of_tails, len(head), rng)
        tail = np.where(tail == head, (tail + 1) % size.entities, tail)
        relation = _draw(of_relations, len(head), rng)
        keys = np.union1d(keys, (head * size.relations + relation) * size.entities + tail)
        missing = size.triples - len(keys)
        half = missing // 2
        head = np.concatenate([_draw(of_items, missing - half, rng), _draw(of_all, half, rng)])
    head, rest = np.divmod(keys, size.relations * size.entities)
    relation, tail = np.divmod(rest, size.entities)
    return np.stack([head, relation, tail], axis=1)


def _falling(n: int, exponent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Cumulated shares that fall by a power of the rank; who has which rank is drawn."""
    shares = (1.0 + rng.permutation(n)) ** -exponent
    return np.asarray(np.cumsum(shares / shares.sum()), dtype=np.float64)


def _draw(cumulated: NDArray[np.float64], n: int, rng: np.random.Generator) -> Ints:
    return np.minimum(np.searchsorted(cumulated, rng.random(n)), len(cumulated) - 1)


def _write_rows(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(header) + "\n")
        file.writelines("\t".join(row) + "\n" for row in rows)
