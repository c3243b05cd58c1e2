"""Make the demo's interactions, seeded, with planted tastes: a recommendation can be seen to be right.

Every user has two tastes (all films of one director, studio or actor, as ``tastes.csv`` lists them), sees
most films of both, and a few at random. Nobody sees the films in ``UNSEEN``: only the graph can reach them.

Usage: ``python make_interactions.py INTERACTIONS.csv``
"""

from __future__ import annotations

import csv
import random
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
UNSEEN = ("Ponyo", "Casino", "Ran", "The Martian")
N_USERS = 240
SHARE_OF_TASTE = 0.7
N_RANDOM = 2


def read_tastes() -> dict[str, list[str]]:
    """The films of each taste: taste -> item ids."""
    films: dict[str, list[str]] = defaultdict(list)
    with (HERE / "tastes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["taste"]:
                films[row["taste"]].append(row["item_id"])
    return dict(films)


def unseen_items() -> set[str]:
    """The ids of the films that nobody sees."""
    with (HERE / "items.csv").open(encoding="utf-8", newline="") as file:
        return {row["item_id"] for row in csv.DictReader(file) if row["title"] in UNSEEN}


def tastes_of_users() -> dict[str, tuple[str, str]]:
    """The two tastes of each user; pairs go round so that every taste has as many users."""
    tastes = sorted(read_tastes())
    users = {}
    for number in range(N_USERS):
        first = number % len(tastes)
        second = (first + 1 + number // len(tastes)) % len(tastes)
        users[f"u{number + 1:03d}"] = (tastes[first], tastes[second])
    return users


def interactions(seed: int = 7) -> list[tuple[str, str, int]]:
    """All (user, item, timestamp) triples, in time order for each user."""
    rng = random.Random(seed)
    films, unseen = read_tastes(), unseen_items()
    with (HERE / "items.csv").open(encoding="utf-8", newline="") as file:
        catalogue = [row["item_id"] for row in csv.DictReader(file) if row["item_id"] not in unseen]
    rows = []
    for user, tastes in tastes_of_users().items():
        liked = [item for taste in tastes for item in films[taste] if item not in unseen]
        seen = {item for item in liked if rng.random() < SHARE_OF_TASTE}
        seen |= set(rng.sample(catalogue, N_RANDOM))
        order = sorted(seen)
        rng.shuffle(order)
        start = 1_700_000_000 + rng.randrange(10_000_000)
        rows += [(user, item, start + 86_400 * day) for day, item in enumerate(order)]
    return rows


def main() -> None:
    """Write the interactions to the CSV file named on the command line."""
    with Path(sys.argv[1]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        writer.writerows(interactions())


if __name__ == "__main__":
    main()
