"""Stack distances, working sets and samples against plain counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.memory import bulk
from llmos.memory.bulk import sampling, stack

references = st.lists(st.integers(0, 15), min_size=1, max_size=150)


@given(references=references)
def test_the_curve_is_lru_at_every_size(references):
    ids, count = bulk.dense(references)
    curve = stack.lru_misses(ids, count)
    assert curve.tolist() == [
        len(ids),
        *(bulk.misses("lru", ids, count, size) for size in range(1, count + 1)),
    ]


def test_times_that_run_out_are_numbered_anew():
    """20,000 references to 150 pages, and the tree has room for some 700 times."""
    ids, count = bulk.dense(np.random.default_rng(2).zipf(1.1, 20_000) % 150)
    curve = stack.lru_misses(ids, count)
    for size in range(1, count + 1, 7):
        assert curve[size] == bulk.misses("lru", ids, count, size)


def test_a_worked_example():
    """a b c b a a: a comes back after b and c (3), b after c (2), a at once (1)."""
    ids, count = bulk.dense([1, 2, 3, 2, 1, 1])
    assert stack.distances(ids, count).tolist() == [3, 1, 1, 1]


@given(references=references, tau=st.integers(1, 40))
def test_a_working_set_is_who_was_used_in_the_window(references, tau):
    ids, count = bulk.dense(references)
    plain = [len(set(references[max(0, t - tau + 1) : t + 1])) for t in range(len(references))]
    assert stack.working_set(ids, count, tau).tolist() == plain
    assert stack.mean_working_sets(ids, count, 40)[tau] == pytest.approx(np.mean(plain))


# --- samples ------------------------------------------------------------------------------------------


def lru(ids, count, sizes):
    return np.interp(sizes, np.arange(count + 1), stack.lru_misses(ids, count))


def popular(seed, pages=20_000, references=200_000):
    dice = np.random.default_rng(seed)
    weights = 1 / np.arange(1, pages + 1) ** 0.8
    return bulk.dense(dice.permutation(pages)[dice.choice(pages, references, p=weights / weights.sum())])


SAMPLES = {
    "rate": lambda ids, count: sampling.of_rate(ids, count, 0.1),
    "size": lambda ids, count: sampling.of_size(ids, count, 1500),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_band_of_a_sample_holds_the_truth(kind):
    """At nine of ten points, over several traces; and a band of everything would be no band."""
    inside, widths = [], []
    for seed in range(6):
        ids, count = popular(seed)
        sizes = np.geomspace(count / 50, count * 0.9, 12)
        ratios, half = sampling.estimate(SAMPLES[kind](ids, count), lru, sizes)
        inside += (np.abs(ratios - lru(ids, count, sizes) / len(ids)) <= half).tolist()
        widths += half.tolist()
    assert np.mean(inside) >= 0.9
    assert max(widths) < 0.15
    assert min(widths) > 0


def test_a_policy_in_miniature_is_near_the_whole():
    ids, count = popular(1)
    size = np.array([count / 4])

    def misses(ids, count, sizes):
        return np.array([bulk.misses("s3-fifo", ids, count, round(size)) for size in sizes], float)

    [ratio], [half] = sampling.estimate(sampling.of_size(ids, count, 3000), misses, size)
    assert abs(ratio - misses(ids, count, size)[0] / len(ids)) <= half < 0.05


def test_a_sample_of_all_is_exact():
    ids, count = popular(1, pages=300, references=5000)
    sizes = np.array([10.0, 100.0])
    ratios, half = sampling.estimate(sampling.of_size(ids, count, 300), lru, sizes)
    assert ratios.tolist() == (lru(ids, count, sizes) / len(ids)).tolist()
    assert half.tolist() == [0, 0]


def test_a_sample_takes_all_references_of_its_pages_and_no_others():
    ids, count = popular(3, pages=1000, references=10_000)
    sample = sampling.of_size(ids, count, 100)
    assert sample.count == 100
    assert sample.references == len(ids)
    per_page = np.bincount(ids, minlength=count)
    taken = np.bincount(sample.ids, minlength=100)
    assert set(taken) <= set(per_page)
    assert taken.min() >= 1


def test_a_sample_too_small_for_its_error_says_so():
    ids, count = bulk.dense(np.arange(100) % 50)
    _, half = sampling.estimate(sampling.of_size(ids, count, 5), lru, np.array([10.0]))
    assert np.isnan(half).all()
