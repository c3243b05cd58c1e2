"""Write a dataset in a published layout, for other programs to train on; :mod:`.datasets` reads it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from kg.errors import InputError, UsageError
from kg.exchange.triples import KG_HEADER, LINK_HEADER
from recommender.data.datasets import KGAT_LISTS, Dataset
from recommender.data.interactions import Interactions

Layout = Literal["recbole", "kgcn", "kgat"]
INTER_HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
NET_HEADER = ("source_id:token", "target_id:token")


def parse_layout(name: str) -> Layout:
    """The layout of this name. Raises :class:`~kg.errors.UsageError` where there is none."""
    known: tuple[Layout, ...] = get_args(Layout)
    for layout in known:
        if layout == name:
            return layout
    raise UsageError(f"there is no layout {name!r}.", hint=f"Known: {', '.join(known)}.")


def write_dataset(dataset: Dataset, folder: Path, layout: Layout) -> tuple[str, ...]:
    """Write the files of one layout into ``folder`` and return what it cannot hold, a line each.

    Where the dataset has ratings all are written, to RecBole and KGCN: read them back with the threshold of
    the first reading. Users and items without any are not written. KGAT's files hold numbers, and the lists
    beside them what the numbers stand for. Raises :class:`~kg.errors.UsageError` for a layout that is not
    known or a folder that holds something, and :class:`~kg.errors.InputError` for an id that no file can
    hold: with a tab, a quote or white space at an end.
    """
    writers = {"recbole": _write_recbole, "kgcn": _write_kgcn, "kgat": _write_kgat}
    parse_layout(layout)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("something is here already.", where=str(folder), hint="Name a new folder.")
    _refuse_unwritable(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(writers[layout](dataset, folder))


def _write_recbole(dataset: Dataset, folder: Path) -> list[str]:
    name = folder.resolve().name
    rated = dataset.interactions if dataset.rated is None else dataset.rated
    _write(folder / f"{name}.inter", _rows_of(rated), INTER_HEADER[: 3 if rated.time is None else 4])
    _write(folder / f"{name}.kg", _triples(dataset), KG_HEADER)
    _write(folder / f"{name}.link", sorted(dataset.links.items()), LINK_HEADER)
    users = dataset.interactions.user_ids
    if dataset.friends is not None:
        pairs = ((users[one], users[other]) for one, other in dataset.friends.tolist())
        _write(folder / f"{name}.net", pairs, NET_HEADER)
    return _lost_test(dataset)


def _write_kgcn(dataset: Dataset, folder: Path) -> list[str]:
    rated = dataset.interactions if dataset.rated is None else dataset.rated
    header = ("user_id", "item_id", "weight", "timestamp")
    _write(folder / "interactions.dat", _rows_of(rated), header[: 3 if rated.time is None else 4])
    _write(folder / "kg.txt", _triples(dataset))
    _write(folder / "item_index2entity_id.txt", sorted(dataset.links.items()))
    n_bare = sum(item not in dataset.links for item in rated.item_ids)
    lost = [f"{n_bare} items without an entity, which its readers leave out"] if n_bare else []
    return lost + _lost_friends(dataset) + _lost_test(dataset)


def _write_kgat(dataset: Dataset, folder: Path) -> list[str]:
    whole, snapshot = dataset.interactions, dataset.snapshot
    entity_of = _entity_numbers(dataset)
    for name, part in (("train", whole), ("test", dataset.test)):
        if part is not None:
            _write(folder / f"{name}.txt", _adjacency(part), separator=" ")
    rows = (
        (str(entity_of[snapshot.entity_ids[head]]), str(relation), str(entity_of[snapshot.entity_ids[tail]]))
        for head, relation, tail in snapshot.triples.tolist()
    )
    _write(folder / "kg_final.txt", rows, separator=" ")
    entities = sorted(entity_of, key=entity_of.__getitem__)
    names: Mapping[str, Sequence[str]] = {
        "user": whole.user_ids,
        "item": whole.item_ids,
        "entity": entities,
        "relation": snapshot.relation_names,
    }
    for kind in KGAT_LISTS:
        header = ("org_id", "remap_id", *(("freebase_id",) if kind == "item" else ()))
        extra = [(entities[number],) if kind == "item" else () for number in range(len(names[kind]))]
        listed = ((name, str(number), *extra[number]) for number, name in enumerate(names[kind]))
        _write(folder / f"{kind}_list.txt", listed, header)
    lost = [] if dataset.test is not None else ["a test part, which the authors' program asks for: test.txt"]
    if dataset.rated is not None:
        lost.append("ratings and times")
    return lost + _lost_friends(dataset)


def _entity_numbers(dataset: Dataset) -> dict[str, int]:
    """Each entity's number: an item's entity has the item's; an item without one gets one of its own."""
    items, known = dataset.interactions.item_ids, {*dataset.snapshot.entity_ids, *dataset.links.values()}
    entities = [dataset.links.get(item, f"item/{item}" if item in known else item) for item in items]
    numbers = {entity: number for number, entity in enumerate(entities)}
    if len(numbers) < len(entities):
        twice = next(entity for number, entity in enumerate(entities) if numbers[entity] != number)
        raise InputError(
            f"several items are the entity {twice!r}, and KGAT's layout knows one item an entity.",
            hint="Write recbole or kgcn.",
        )
    for entity in dataset.snapshot.entity_ids:
        numbers.setdefault(entity, len(numbers))
    return numbers


def _rows_of(part: Interactions) -> Iterable[tuple[str, ...]]:
    columns: list[Sequence[str]] = [
        [part.user_ids[user] for user in part.user.tolist()],
        [part.item_ids[item] for item in part.item.tolist()],
        [f"{weight:.9g}" for weight in part.weight.tolist()],
    ]
    if part.time is not None:
        columns.append([str(moment) for moment in part.time.tolist()])
    return zip(*columns, strict=True)


def _adjacency(part: Interactions) -> Iterable[tuple[str, ...]]:
    indptr, items = part.by_user()
    for user in range(part.n_users):
        had = items[indptr[user] : indptr[user + 1]].tolist()
        if had:
            yield str(user), *map(str, had)


def _triples(dataset: Dataset) -> Iterable[tuple[str, ...]]:
    ids, relations = dataset.snapshot.entity_ids, dataset.snapshot.relation_names
    for head, relation, tail in dataset.snapshot.triples.tolist():
        yield ids[head], relations[relation], ids[tail]


def _write(
    path: Path, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = (), *, separator: str = "\t"
) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        if header:
            file.write(separator.join(header) + "\n")
        for row in rows:
            file.write(separator.join(row) + "\n")


def _refuse_unwritable(dataset: Dataset) -> None:
    kept, snapshot = dataset.interactions, dataset.snapshot
    for ids in (kept.user_ids, kept.item_ids, dataset.links, snapshot.entity_ids, snapshot.relation_names):
        for identity in ids:
            if "\t" in identity or '"' in identity or [identity.strip()] != identity.splitlines():
                raise InputError(
                    f"the id {identity!r} does not fit into a file of cells between tabs.",
                    hint="Rename it: no tab, line break or quote in it, no white space at an end.",
                )


def _lost_friends(dataset: Dataset) -> list[str]:
    return [] if dataset.friends is None else [f"{len(dataset.friends)} friendships"]


def _lost_test(dataset: Dataset) -> list[str]:
    return [] if dataset.test is None else [f"the published test part, {len(dataset.test)} interactions"]
