"""Exact cases, among them the ways in which published figures go wrong."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.evaluation.metrics import (
    RANKING_METRICS,
    auc,
    average_precision,
    bootstrap_interval,
    grouped_auc,
    hit,
    log_loss,
    ndcg,
    ndcg_of_found,
    paired_difference,
    precision,
    realistic_rank,
    recall,
    reciprocal_rank,
)

HITS = np.asarray([[True, False, False, True, False]])
THREE = np.asarray([3])


def test_ndcg_counts_what_was_missed() -> None:
    gain, best = 1 + 1 / np.log2(5), 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert gain == pytest.approx(1.4307, abs=1e-4)
    assert best == pytest.approx(2.1309, abs=1e-4)
    assert ndcg(HITS, THREE)[0] == pytest.approx(0.6714, abs=1e-4)
    # Dividing by the best order of the found hits alone would say:
    assert gain / (1 + 1 / np.log2(3)) == pytest.approx(0.8772, abs=1e-4)


def test_ndcg_is_one_for_the_best_list_whatever_its_length() -> None:
    assert ndcg(np.asarray([[True, True, False]]), np.asarray([2]))[0] == pytest.approx(1.0)
    assert ndcg(np.asarray([[True, True, True]]), np.asarray([9]))[0] == pytest.approx(1.0)


def test_the_other_metrics_by_hand() -> None:
    assert recall(HITS, THREE)[0] == pytest.approx(2 / 3)
    assert precision(HITS, THREE)[0] == pytest.approx(2 / 5)
    assert hit(HITS, THREE)[0] == 1
    assert reciprocal_rank(HITS, THREE)[0] == 1
    assert reciprocal_rank(np.roll(HITS, 1, axis=1), THREE)[0] == pytest.approx(1 / 2)
    assert average_precision(HITS, THREE)[0] == pytest.approx((1 + 2 / 4) / 3)
    nothing = np.zeros((1, 5), dtype=bool)
    assert all(metric(nothing, THREE)[0] == 0 for metric in RANKING_METRICS.values())


def test_auc_by_hand_and_with_ties() -> None:
    assert auc(np.asarray([3.0, 1.0, 2.0]), np.asarray([True, False, True])) == 1.0
    assert auc(np.asarray([3.0, 1.0, 2.0]), np.asarray([True, True, False])) == 0.5
    assert auc(np.ones(10), np.arange(10) < 3) == 0.5
    assert np.isnan(auc(np.ones(3), np.ones(3, dtype=bool)))


def test_auc_over_all_pairs_is_not_the_mean_over_batches() -> None:
    scores, labels = np.asarray([0.9, 0.8, 0.2, 0.1]), np.asarray([True, False, True, False])
    batches = [auc(scores[part], labels[part]) for part in (slice(0, 2), slice(2, 4))]
    assert np.mean(batches) == 1.0
    assert auc(scores, labels) == 0.75


def test_a_constant_scorer_gets_the_middle_rank() -> None:
    ranks = realistic_rank(np.zeros((3, 101)), np.asarray([0, 50, 100]))
    assert ranks.tolist() == [51, 51, 51]  # (E + 1) / 2
    assert realistic_rank(np.asarray([[3.0, 2.0, 2.0, 1.0]]), np.asarray([1])).tolist() == [2.5]


def test_interval_covers_the_mean_of_a_known_spread() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        found = bootstrap_interval(rng.normal(1.0, 2.0, 200), rng, n_resamples=300)
        inside += found.low <= 1.0 <= found.high
    assert 88 <= inside <= 100


def test_pairing_finds_a_difference_that_the_spread_hides() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(300)
    found = paired_difference(base + 0.01 + rng.normal(0, 0.01, 300), base, rng)
    assert 0 < found.low < found.mean < found.high
    alone = bootstrap_interval(base, rng)
    assert alone.high - alone.low > found.mean


def test_the_published_variant_of_ndcg_reads_higher() -> None:
    hits = np.asarray([[True, False, False, True, False], [False] * 5])
    n_relevant = np.asarray([3, 1])
    assert ndcg(hits, n_relevant)[0] == pytest.approx(0.6714, abs=1e-4)
    assert ndcg_of_found(hits, n_relevant) == pytest.approx([0.8772, 0], abs=1e-4)


def test_grouped_auc_is_within_users() -> None:
    users = np.asarray([0, 0, 1, 1, 1, 1, 2])
    labels = np.asarray([True, False, True, False, False, False, True])
    scores = np.asarray([5.0, 9.0, 3.0, 1.0, 2.0, 4.0, 7.0])
    assert grouped_auc(users, scores, labels) == pytest.approx((2 * 0 + 4 * 2 / 3) / 6)
    assert np.isnan(grouped_auc(users[:1], scores[:1], labels[:1]))


def test_log_loss_of_logits() -> None:
    labels = np.asarray([True, False])
    assert log_loss(np.zeros(2), labels) == pytest.approx(np.log(2))
    assert log_loss(np.asarray([1e4, 1e4]), labels) == pytest.approx(5e3)
