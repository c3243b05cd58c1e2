"""How a training is run and shown: workers, precision, trackers, curves."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.loregraph.commands import films_workspace, lore

TRAIN = ("train", "bpr", "--epochs", "2", "-s", "dim=8", "--interactions")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose graph is empty, with some interactions."""
    folder = films_workspace(tmp_path_factory.mktemp("runs") / "w")
    rng = np.random.default_rng(0)
    rows = {f"u{user},i{item}" for user, item in rng.integers(0, [20, 15], (200, 2))}
    (folder / "had.csv").write_text("\n".join(["user_id,item_id", *sorted(rows)]) + "\n", encoding="utf-8")
    done = lore(*TRAIN, folder / "had.csv", "-w", folder, "--track", "tensorboard")
    assert done.code == 0, done.err
    return folder


def test_curves_are_drawn_of_the_last_run(workspace: Path) -> None:
    pytest.importorskip("matplotlib")
    done = lore("curves", "-w", workspace)
    assert done.code == 0, done.err
    picture = Path(done.err.split("picture: ")[1].strip())
    assert picture.parent.parent == workspace / "runs"
    texts = {"".join(node.itertext()).strip() for node in ElementTree.parse(picture).iter()}
    assert {picture.parent.name, "ranking", "ndcg@20"} <= texts
    elsewhere = workspace / "elsewhere.png"
    assert lore("curves", "bpr", "--out", elsewhere, "-w", workspace).code == 0
    assert elsewhere.is_file()


def test_a_run_that_is_not_there(workspace: Path) -> None:
    done = lore("curves", "kgat", "-w", workspace)
    assert done.code == 2
    assert "there is no run 'kgat'" in done.err
    assert "bpr-" in done.err


def test_tensorboard_events_lie_in_the_run(workspace: Path) -> None:
    assert len(list((workspace / "runs").glob("bpr-*/tensorboard/events*"))) == 1


@pytest.mark.slow
def test_workers_sixteen_bits_and_mlflow_together(workspace: Path) -> None:
    how = ("--workers", "2", "--precision", "bfloat16", "--accumulate", "2", "--track", "mlflow")
    done = lore(*TRAIN, workspace / "had.csv", "-w", workspace, *how)
    assert done.code == 0, done.err
    assert (workspace / "mlflow.db").is_file()
    assert len(list((workspace / "runs").glob("bpr-*/metrics.jsonl"))) == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(("--precision", "half"), "no precision 'half'"), (("--track", "paper"), "no tracker 'paper'")],
)
def test_wrong_words(workspace: Path, wrong: tuple[str, str], said: str) -> None:
    done = lore(*TRAIN, workspace / "had.csv", "-w", workspace, *wrong)
    assert done.code == 2
    assert said in done.err
