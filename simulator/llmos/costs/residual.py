"""What operations of one family take beyond their roofline, learned from those that were timed.

- First the roofline is drawn through the rows: launch, computing and moving are each scaled, and its
  corner is round, `launch + hypot(compute, memory)`, as no machine turns it sharply.
- What is left, in logarithms, is a Gaussian process: rows that are alike are off alike. Alike are rows
  of like sizes that spend like shares of their time on computing and on moving.
- How far likeness reaches (a length for each feature) and how much of a row is noise are what makes
  the rows likeliest, drawn towards what is usual.
- A row that the others contradict counts less: now and then a library picks a kernel that is several
  times too slow, and nothing else should be predicted from it.
- In a family of many rows, only the nearest ones answer.
- The same rows give the same answer. Libraries of linear algebra add up in another order on another
  machine: only the search asks them, where the last digits decide nothing. Answers keep six digits.

Source: C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, chapters 2
and 5; leaving a row out without fitting again: section 5.4.2.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parts = tuple[float, float, float]
"""Seconds of a launch, of computing and of moving, as a profile's roofline has them."""

ALL, NEAREST = 256, 96
"""Up to so many rows all answer; of more, so many do."""
SEARCHED = 96
"""Lengths and noise are searched for on at most so many rows."""
ROUNDS = 3
"""Of the search: in each, every length is tried a step longer and a step shorter."""
USUAL_LENGTH, USUAL_NOISE = 2.0, 0.02
"""In standard deviations of a feature; as a share of what the rows vary."""
PULL = 2.0
"""How strongly they are drawn there: a factor of e away is as bad as a row e**-PULL times as likely."""
CONTRADICTED = 1.5
"""A row so many standard deviations from what the others say begins to count less."""
LEAST_GAIN = 1e-6
LEAST_SECONDS = 1e-12


@dataclass(frozen=True, slots=True)
class Guess:
    """A predicted time in seconds, and how unsure it is.

    unsure: 1 is as unsure as of the rows that were timed, were each left out (of one in ten it is more
        unsure than that); 3 is three times as much.
    """

    seconds: float
    unsure: float


class Residual:
    """What at least one row of a family took beyond its roofline, and so what others will.

    sizes: (N, D) whole numbers. parts: of each row's roofline. seconds: what each row took.
    unlikely: minus the logarithm of how likely these rows are; of two rooflines, the lower is the better.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], parts: Sequence[Parts], seconds: Sequence[float]
    ) -> None:
        each, taken = np.asarray(parts, float), np.log(np.asarray(seconds, float))
        self._scales = _scales(each, taken)
        features = _features(np.asarray(sizes, float), each * self._scales)
        self._middle, deviations = features.mean(axis=0), features.std(axis=0)
        self._varied = _varied(features)
        self._lengths = deviations[self._varied]
        off = taken - np.log(_roofline(each * self._scales))
        self._usual = float(np.median(off))
        self._off = off - self._usual
        rows = self._place(features)
        some = np.unique(np.linspace(0, len(off) - 1, min(len(off), SEARCHED)).round().astype(int))
        lengths, self._noise, self.unlikely = _search(rows[some], self._off[some])
        self._lengths = self._lengths * lengths
        self._rows = rows / lengths
        self._all = _Solved(self._rows, self._off, self._noise) if len(off) <= ALL else None

    def predict(self, sizes: Sequence[int], parts: Parts) -> Guess:
        """The time of the operation of these sizes, whose roofline has these parts."""
        scaled = np.asarray([parts], float) * self._scales
        [place] = self._place(_features(np.asarray([sizes], float), scaled))
        off, unsure = (self._all or self._near(place)).at(place)
        seconds = float(_roofline(scaled)[0]) * math.exp(self._usual + off)
        return Guess(_six_digits(seconds), _six_digits(unsure))

    def _place(self, features: Array) -> Array:
        return np.asarray((features - self._middle)[:, self._varied] / self._lengths, float)

    def _near(self, place: Array) -> "_Solved":
        far = ((self._rows - place) ** 2).sum(axis=1)
        nearest = np.sort(np.argsort(far, kind="stable")[:NEAREST])
        return _Solved(self._rows[nearest], self._off[nearest], self._noise)


class _Solved:
    """The rows that answer, with what each adds to an answer."""

    def __init__(self, rows: Array, off: Array, noise: float) -> None:
        alike = _alike(_squares(rows).sum(axis=0))
        self._rows, self._noise = rows, noise
        self._root = _inverse_root(alike + np.diag(noise * _doubts(alike, off, noise)))
        whitened = (self._root * off).sum(axis=1)
        self._adds = (self._root * whitened[:, None]).sum(axis=0)
        # One over the variance of the rows that the others tell least of, each left out: one in ten.
        self._left_out = float(np.quantile((self._root**2).sum(axis=0), 0.1))

    def at(self, place: Array) -> tuple[float, float]:
        """What is expected there, beyond the roofline, in logarithms, and how unsure that is."""
        alike = _alike(((self._rows - place) ** 2).sum(axis=1))
        known = float(((self._root * alike).sum(axis=1) ** 2).sum())
        left = max(1 + self._noise - known, 0.0)
        return float((alike * self._adds).sum()), math.sqrt(left * self._left_out)


def _roofline(parts: Array) -> Array:
    """Seconds, (N,), of the roofline with a round corner; parts: (N, 3)."""
    return np.maximum(parts[:, 0] + np.hypot(parts[:, 1], parts[:, 2]), LEAST_SECONDS)


def _features(sizes: Array, parts: Array) -> Array:
    """What likeness is judged by: (N, D) sizes and (N, 3) parts become (N, D + 4)."""
    launch, compute, memory = parts.T
    whole, least = np.maximum(parts.sum(axis=1), LEAST_SECONDS), np.maximum(launch, 1e-9)
    shares = (compute / whole, memory / whole, np.log1p(compute / least), np.log1p(memory / least))
    return np.column_stack([np.log(sizes), *shares])


def _varied(features: Array) -> NDArray[np.intp]:
    """The features that tell the rows apart: not the same in all of them, nor the same as another."""
    kept: list[int] = []
    for i, column in enumerate(features.T):
        if column.std() > 1e-9 and not any(np.ptp(column - features[:, other]) < 1e-9 for other in kept):
            kept.append(i)
    return np.asarray(kept, int)


def _scales(parts: Array, taken: Array) -> Array:
    """What to multiply launch, computing and moving by, so that the rows take one share of the roofline.

    In the mean distance of the logarithms from their median; found by smaller and smaller steps.
    """

    def distance(logs: Array) -> float:
        shares = taken - np.log(_roofline(parts * np.exp(logs)))
        return float(np.abs(shares - np.median(shares)).mean())

    best, step = np.zeros(3), 0.4
    least = distance(best)
    while step > 0.01:
        tries = [best + step * sign * axis for axis in np.eye(3) for sign in (1, -1)]
        found, i = min((distance(each), i) for i, each in enumerate(tries))
        if found < least - LEAST_GAIN:
            least, best = found, tries[i]
        else:
            step /= 2
    return np.asarray(np.exp(best), float)


def _squares(rows: Array) -> Array:
    """The squared distances, (D, N, N), of (N, D) rows, one plane for each feature."""
    return np.asarray((rows.T[:, :, None] - rows.T[:, None, :]) ** 2, float)


def _alike(squares: Array) -> Array:
    """How alike rows at these squared distances are, 0..1: Matern's function of order 3/2."""
    far = np.sqrt(3 * squares)
    return np.asarray((1 + far) * np.exp(-far), float)


def _search(rows: Array, off: Array) -> tuple[Array, float, float]:
    """The length of each feature, and the noise, that make the rows likeliest, and how unlikely they stay."""
    squares = _squares(rows)
    usual = np.log([*[USUAL_LENGTH] * rows.shape[1], USUAL_NOISE])
    if not off.any():
        return np.asarray(np.exp(usual[:-1]), float), USUAL_NOISE, -math.inf

    def alike(logs: Array) -> Array:
        return _alike((squares * np.exp(-2 * logs[:-1])[:, None, None]).sum(axis=0))

    def unlikely(logs: Array, doubts: Array) -> float:
        root = np.linalg.cholesky(alike(logs) + np.diag(math.exp(logs[-1]) * doubts))
        whitened = np.linalg.solve(root, off)
        likely = -len(off) / 2 * math.log(float((whitened**2).mean())) - float(np.log(np.diag(root)).sum())
        return PULL / 2 * float(((logs - usual) ** 2).sum()) - likely

    trusting = np.ones(len(off))
    best = _downhill(lambda logs: unlikely(logs, trusting), usual)
    doubts = _doubts(alike(best), off, math.exp(best[-1]))
    best = _downhill(lambda logs: unlikely(logs, doubts), best)
    return np.asarray(np.exp(best[:-1]), float), math.exp(best[-1]), unlikely(best, doubts)


def _downhill(height: Callable[[Array], float], start: Array) -> Array:
    """A lower place near `start`, found by steps along one axis at a time."""
    best, steps = start.copy(), np.full(len(start), 0.7)
    least = height(best)
    for _ in range(ROUNDS):
        for i in range(len(best)):
            for sign in (1, -1):
                there = best.copy()
                there[i] += sign * steps[i]
                found = height(there)
                if found < least - LEAST_GAIN:
                    best, least = there, found
                    break
            else:
                steps[i] /= 2
    return best


def _doubts(alike: Array, off: Array, noise: float) -> Array:
    """How many times as noisy as usual each row is taken to be: 1, or more if the others contradict it."""
    root = _inverse_root(alike + noise * np.eye(len(off)))
    adds = (root * (root * off).sum(axis=1)[:, None]).sum(axis=0)
    variance = float((adds * off).mean())
    if variance <= 0:
        return np.ones(len(off))
    strange = np.abs(adds) / np.sqrt((root**2).sum(axis=0) * variance)  # each as the others see it
    return np.asarray(np.maximum(1.0, strange / CONTRADICTED) ** 2, float)


def _inverse_root(matrix: Array) -> Array:
    """The inverse of the lower triangular root L of a positive definite matrix L L'."""
    count = len(matrix)
    work = np.hstack([matrix, np.eye(count)])
    for i in range(count):
        work[i, i:] /= math.sqrt(work[i, i])
        work[i + 1 :, i + 1 :] -= work[i, i + 1 : count, None] * work[i, None, i + 1 :]
    return work[:, count:]


def _six_digits(value: float) -> float:
    return float(f"{value:.5e}")
