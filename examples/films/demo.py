"""The whole flow on 77 short articles about films: text, graph, Cypher, recommendation, path, sentence.

Run it with ``make demo``. It makes a fresh workspace in ``demo-workspace/`` and shows every command it runs.
At the end it checks what it promised: the planted tastes are found, also where nobody has seen the film.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import make_interactions as planted  # noqa: E402

WORKSPACE = Path.cwd() / "demo-workspace"
K = 5


def lore(*arguments: str, show: bool = True) -> str:
    """Run one ``lore`` command in the demo's workspace and return what it prints on stdout."""
    command, *rest = arguments
    if show:
        print(f"\n$ lore {shlex.join(arguments)}", flush=True)
    place = [] if command == "init" else ["-w", str(WORKSPACE)]
    subcommand = [rest.pop(0)] if command in ("documents", "store") else []
    done = subprocess.run(
        [sys.executable, "-m", "loregraph.cli.main", command, *subcommand, *place, *rest],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"demo: `lore {shlex.join(arguments)}` ended with exit code {done.returncode}")
    if show:
        print(done.stdout.rstrip(), flush=True)
    return done.stdout


def build_graph() -> None:
    """Make the workspace, read the articles, ask the graph."""
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    lore("init", str(WORKSPACE), "--schema", str(HERE / "schema.toml"))
    lore("ingest", str(HERE / "articles"))
    lore(
        "query",
        "MATCH (f:Film)-[:DIRECTED_BY]->(p:Person {name: 'Hayao Miyazaki'}) "
        "RETURN f.name AS film, f.release_year AS year ORDER BY year",
    )
    lore(
        "query",
        "MATCH (f:Film)-[r]->(p:Person {name: 'Steve McQueen'}) "
        "RETURN p.birth_year AS born, type(r) AS role, collect(f.name) AS films ORDER BY born",
    )


def train() -> None:
    """Link the catalogue, make the interactions, train."""
    interactions = WORKSPACE / "interactions.csv"
    with interactions.open("w", encoding="utf-8") as file:
        file.write("user_id,item_id,timestamp\n")
        file.writelines(f"{user},{item},{at}\n" for user, item, at in planted.interactions())
    lore("link", str(HERE / "items.csv"))
    lore("train", "kgat", "--interactions", str(interactions))


def show_recommendation() -> None:
    """Recommend to one user of each kind and explain a film that nobody has seen."""
    fans = [user for user, tastes in planted.tastes_of_users().items() if "Hayao Miyazaki" in tastes]
    unseen = planted.unseen_items()
    for user in fans:
        hits = json.loads(lore("recommend", user, "-k", str(K), "--json", show=False))
        chosen = next((hit for hit in hits if hit["item"] in unseen and hit["name"] == "Ponyo"), None)
        if chosen:
            lore("recommend", user, "-k", str(K))
            lore("explain", user, chosen["item"])
            return
    print("\nno Miyazaki fan was recommended Ponyo, the film that nobody has seen")


def check_promise() -> bool:
    """Count how many of the recommended films belong to a planted taste of the user."""
    from recommender.serving.service import Service

    marker = (WORKSPACE / "bundles" / "latest").read_text(encoding="utf-8").strip()
    service = Service.open(WORKSPACE / "bundles" / marker)
    films, unseen = planted.read_tastes(), planted.unseen_items()
    seen_by: dict[str, set[str]] = {}
    for user, item, _ in planted.interactions():
        seen_by.setdefault(user, set()).add(item)
    right = shown = reached = reachable = 0
    for user, tastes in planted.tastes_of_users().items():
        liked = {item for taste in tastes for item in films[taste]}
        wanted = liked - seen_by[user]
        hits = [hit.item for hit in service.recommend(user, k=min(K, len(wanted)))] if wanted else []
        right += len(wanted.intersection(hits))
        shown += len(hits)
        reachable += len(wanted & unseen)
        reached += len(wanted.intersection(hits) & unseen)
    n_items = sum(1 for _ in (HERE / "items.csv").open(encoding="utf-8")) - 1
    chance = sum(len(films[t]) for t in films) / len(films) * 2 / n_items
    share = right / shown
    print(f"\nPlanted tastes: {right} of {shown} recommendations ({share:.0%}) follow the user's tastes;")
    print(f"picking at random gives about {chance:.0%} even without counting what was seen.")
    print(
        f"Of the films that nobody has seen, {reached} of {reachable} reached the users they were meant for."
    )
    return share > 3 * chance and reached > 0


def main() -> None:
    """Run the demo; exit with 1 where it does not keep its promise."""
    started = time.monotonic()
    build_graph()
    train()
    show_recommendation()
    kept = check_promise()
    print(
        f"\nThe demo took {time.monotonic() - started:.0f} s. The workspace is {WORKSPACE}: look around with"
    )
    print(f"  .venv/bin/lore serve -w {WORKSPACE.name}")
    if not kept:
        sys.exit("demo: the recommendations do not follow the planted tastes")


if __name__ == "__main__":
    main()
