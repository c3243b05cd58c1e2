"""A process that writes an embedded graph until it is killed; prints every version it has been promised.

Usage: ``python embedded_writer.py FOLDER SEED``. At version v every film has ``release_year`` v, and the
edges form a ring shifted by v. Every seventh version is a full load, and checkpoints come often.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from kg.stores import embedded
from tests.kg.stores.graphs import FILMS, Rows, delta, edge, ends, node

N_NODES = 30


def content(version: int) -> dict[str, list[dict[str, object]]]:
    """All rows of a version."""
    films = [node(f"f{i}", "Film", f"Film {i}", release_year=version) for i in range(N_NODES)]
    people = [node(f"p{i}", "Person", f"Person {i}") for i in range(N_NODES)]
    edges = [
        edge(f"e{i}-{(i + version) % N_NODES}", "STARS", films[i], people[(i + version) % N_NODES])
        for i in range(N_NODES)
    ]
    return {"nodes": films + people, "edges": edges}


def gone(version: int) -> list[dict[str, object]]:
    """The edges that a version replaces."""
    rows = content(version - 1)
    films, people = rows["nodes"][:N_NODES], rows["nodes"][N_NODES:]
    return [
        ends(f"e{i}-{(i + version - 1) % N_NODES}", "STARS", films[i], people[(i + version - 1) % N_NODES])
        for i in range(N_NODES)
    ]


def main() -> None:
    """Write for ever."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    embedded.APPLIES_PER_CHECKPOINT = rng.choice((2, 5, 50))
    store = embedded.EmbeddedStore(folder, FILMS)
    while True:
        version = store.version().version + 1
        if version == 1 or version % 7 == 0:
            store.load(Rows(version, **content(version)))
        else:
            store.apply(delta(version - 1, version, gone_edges=gone(version), **content(version)))
        print(version, flush=True)


if __name__ == "__main__":
    main()
