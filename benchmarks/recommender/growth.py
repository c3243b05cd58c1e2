"""Draw how KGAT's epoch grows with the data, from what ``speed.py`` measured.

    python benchmarks/recommender/growth.py

Reads ``benchmarks/results/recommender_speed.json`` and writes ``recommender_growth.svg`` beside it: CPU
seconds and peak memory of one epoch at a quarter, a half, once and twice the size of Amazon-Book, with the
straight line of linear growth through the size of once. There are two ways to grow: with batches that stay,
so that there are more steps, each of which moves every row of larger tables; and with batches in proportion
to the data. Also puts the exponents into the JSON: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "recommender_speed.json"
SIZES = {0.25: "growth-0.25", 0.5: "growth-0.5", 1.0: "kgat-book", 2.0: "growth-2"}
WAYS = {"the same batch": ("", "#1f5fa8"), "the batch in proportion": ("-in-proportion", "#b8501f")}
Lines = Mapping[str, tuple[Sequence[float], str]]
"""The values of each way to grow, and its colour."""
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 380, 280, 62, 46, 34, 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    measured = results["measurements"]
    sizes = measured_sizes(measured)
    if 1 not in sizes:
        raise SystemExit("nothing to draw: speed.py has not measured kgat-book")
    grown = {way: _grown(measured, sizes, way) for way in WAYS}
    results["growth"] = {"sizes": sizes, **grown}
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    titles = {
        "epoch_cpu_s": "CPU seconds of an epoch",
        "mb_above_imports": "Peak memory above the imports, MB",
    }
    panels = [
        panel(title, sizes, {way: (grown[way][what], colour) for way, (_, colour) in WAYS.items()})
        for what, title in titles.items()
    ]
    options.results.with_name("recommender_growth.svg").write_text(drawing(panels), encoding="utf-8")
    print(json.dumps(results["growth"], indent=1))


def measured_sizes(measured: Mapping[str, Any]) -> list[float]:
    """The sizes that were measured in both ways to grow."""
    return [size for size in SIZES if all("ours" in measured.get(measurement(size, way), {}) for way in WAYS)]


def measurement(size: float, way: str) -> str:
    """What a size is measured as; both ways meet at 1."""
    return SIZES[size] if size == 1 else f"{SIZES[size]}{WAYS[way][0]}"


def _grown(measured: Mapping[str, Any], sizes: Sequence[float], way: str) -> dict[str, Any]:
    """Seconds and memory by size, and how fast they grow."""
    rows = [measured[measurement(size, way)]["ours"] for size in sizes]
    seconds = [row["cpu_s"] for row in rows]
    memory = [row["peak_mb"] - row["import_mb"] for row in rows]
    return {
        "epoch_cpu_s": seconds,
        "peak_mb": [row["peak_mb"] for row in rows],
        "mb_above_imports": memory,
        "exponent_cpu_s": exponent(sizes, seconds),
        "exponent_memory": exponent(sizes, memory),
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return round(above / sum((a - mean_x) ** 2 for a in x), 3)


def panel(title: str, sizes: Sequence[float], lines: Lines) -> str:
    """One set of axes with the measured points of each way to grow and the line of linear growth."""
    every = [value for values, _ in lines.values() for value in values]
    once = next(iter(lines.values()))[0][sizes.index(1)]
    linear = [once * size for size in sizes]
    step = _step(max(*every, *linear))
    top = step * math.ceil(max(*every, *linear) / step)

    def at(size: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * size / max(sizes)
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top, 1)

    def line(points: Sequence[float], style: str) -> str:
        path = " ".join(f"{x},{y}" for x, y in map(at, sizes, points))
        return f'<polyline points="{path}" fill="none" {style}/>'

    parts: list[str] = [f'<text x="{LEFT}" y="20" font-weight="bold">{title}</text>']
    for number in range(round(top / step) + 1):
        _, y = at(0, number * step)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{number * step:g}</text>')
    for size in sizes:
        x, y = at(size, 0)
        parts.append(f'<text x="{x}" y="{y + 17}" text-anchor="middle">{size:g}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">times Amazon-Book</text>'
    )
    parts.append(line(linear, 'stroke="#999" stroke-dasharray="5 4"'))
    for values, colour in lines.values():
        parts.append(line(values, f'stroke="{colour}" stroke-width="2"'))
        for size, value in zip(sizes, values, strict=True):
            x, y = at(size, value)
            parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>')
            parts.append(f'<text x="{x - 6}" y="{y - 8}" text-anchor="end">{value:,.0f}</text>')
    return "\n".join(parts)


def drawing(panels: Sequence[Any]) -> str:
    """The panels side by side, as a picture on white."""
    shown = "\n".join(
        f'<g transform="translate({number * WIDTH},0)">\n{part}\n</g>' for number, part in enumerate(panels)
    )
    width = WIDTH * len(panels)
    ways = " or ".join(f'<tspan fill="{colour}">{way}</tspan>' for way, (_, colour) in WAYS.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT + 22}" '
        f'viewBox="0 0 {width} {HEIGHT + 22}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{shown}\n'
        f'<text x="{LEFT}" y="{HEIGHT + 12}" fill="#555">KGAT, one layer of 64, one thread, batch 2048: '
        f"{ways}. Dashed: linear.</text>\n</svg>\n"
    )


def _step(highest: float) -> float:
    """A round distance between grid lines, four to eight of them."""
    rough = highest / 5
    power = 10 ** math.floor(math.log10(rough))
    return float(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough))


if __name__ == "__main__":
    main()
