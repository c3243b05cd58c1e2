from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kg.errors import ConfigurationError, InputError, UsageError
from recommender.training.curves import draw_curves

pytest.importorskip("matplotlib")
RECORD = """{"epoch": 5, "train/ranking": 0.7, "train/knowledge": 0.4, "validation/ndcg@20": 0.1}
{"epoch": 10, "train/ranking": 0.5, "train/knowledge": 0.3, "validation/ndcg@20": 0.2}
{"epoch": 12, "train/ranking": 0.45, "train/knowledge": 0.29}
"""


def run_folder(folder: Path, record: str = RECORD) -> Path:
    folder = folder / "kgat-0123"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(record)
    return folder


def test_a_picture_names_every_series(tmp_path: Path) -> None:
    draw_curves(run_folder(tmp_path), tmp_path / "curves.svg")
    tree = ElementTree.parse(tmp_path / "curves.svg")
    texts = ["".join(node.itertext()).strip() for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"kgat-0123", "ranking", "knowledge", "ndcg@20", "loss", "validation", "epoch"} <= set(texts)


def test_the_curves_are_those_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    draw_curves(run_folder(tmp_path), tmp_path / "curves.svg")
    losses, validation = drawn[0].axes
    by_name = {str(line.get_label()): line for panel in (losses, validation) for line in panel.lines}
    assert list(by_name["ranking"].get_ydata()) == [0.7, 0.5, 0.45]
    assert list(by_name["ndcg@20"].get_xdata()) == [5, 10]
    assert list(by_name["ndcg@20"].get_ydata()) == [0.1, 0.2]


def test_png_too(tmp_path: Path) -> None:
    draw_curves(run_folder(tmp_path), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("record", ["", "{", '{"epoch": 1}\n', "[1]\n", '{"epoch": 1, "train/a": "x"}\n'])
def test_a_record_that_cannot_be_drawn(record: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        draw_curves(run_folder(tmp_path, record), tmp_path / "curves.svg")


def test_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no record of a training"):
        draw_curves(tmp_path, tmp_path / "curves.svg")
    with pytest.raises(UsageError, match=r"curves\.txt is no picture"):
        draw_curves(run_folder(tmp_path), tmp_path / "curves.txt")


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigurationError, match=r"loregraph\[plot\]"):
        draw_curves(run_folder(tmp_path), tmp_path / "curves.svg")
