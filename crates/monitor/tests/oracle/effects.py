"""Writes effects.csv beside itself: what scipy and Evidently say about pairs of histograms over the same cells.

Made with scipy 1.17.1 and evidently 0.7.23 by `python3 -P effects.py`. Columns: counts of the reference and of the
current side, positions of the cells (each list separated by spaces), then Evidently's PSI and Hellinger distance,
scipy's Jensen-Shannon distance, Kolmogorov-Smirnov statistic, Wasserstein distance, Evidently's normed one, scipy's
chi-square statistic, and the Chebyshev distance of the frequencies. Evidently is given one value per cell, so that
its cells are these.
"""

import csv
import pathlib
import random

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests.hellinger_distance import _hellinger_distance
from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
from evidently.legacy.calculations.stattests.psi import _psi
from evidently.legacy.calculations.stattests.wasserstein_distance_norm import _wasserstein_distance_norm
from evidently.legacy.core import ColumnType
from scipy.spatial.distance import chebyshev, jensenshannon
from scipy.stats import chi2_contingency, ks_2samp


def histogram(rng, cells, rows, hollow):
    """Random counts of `cells` cells, some of them empty if `hollow`."""
    weights = [rng.random() ** 2 * (not hollow or rng.random() < 0.7) for _ in range(cells)]
    weights[rng.randrange(cells)] += 0.5
    draws = rng.choices(range(cells), weights=weights, k=rows)
    return [draws.count(cell) for cell in range(cells)]


def pairs(rng):
    """Pairs of histograms: small, large, hollow, far apart, and equal."""
    for cells, rows, other in [(2, 40, 30), (5, 200, 1000), (12, 3000, 150), (34, 9000, 9000), (34, 25000, 77)]:
        for hollow in (False, True):
            yield histogram(rng, cells, rows, hollow), histogram(rng, cells, other, hollow)
    yield [50, 50, 0, 0], [0, 0, 20, 80]
    yield [20000, 1, 0, 400], [9000, 0, 3, 180]
    yield [7, 5, 3], [14, 10, 6]


def line(rng, reference, current):
    """What the packages say of one pair."""
    steps = [rng.randrange(1, 64) / 16 for _ in reference]
    positions = [sum(steps[: i + 1]) - 20 for i in range(len(steps))]
    expand = lambda counts: pd.Series(np.repeat(positions, counts))
    ref, cur = expand(reference), expand(current)
    p, q = np.array(reference) / sum(reference), np.array(current) / sum(current)
    seen = (p + q) > 0
    table = np.array([reference, current])[:, seen]
    category = ColumnType.Categorical
    wasserstein, _ = _wasserstein_distance_norm(ref.copy(), cur.copy(), ColumnType.Numerical, 0.1)
    distance = jensenshannon(p, q)
    evidentlys, _ = _jensenshannon(ref.copy(), cur.copy(), category, 0.1)
    assert abs(distance - evidentlys) < 1e-9
    return [
        _psi(ref.copy(), cur.copy(), category, 0.1)[0],
        _hellinger_distance(ref.copy(), cur.copy(), category, 0.1)[0],
        distance,
        ks_2samp(ref, cur).statistic,
        wasserstein * max(float(np.std(ref)), 0.001),
        wasserstein,
        chi2_contingency(table, correction=False).statistic,
        chebyshev(p, q),
    ], positions


def main():
    rng = random.Random(20200420)
    with open(pathlib.Path(__file__).with_name("effects.csv"), "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        for reference, current in pairs(rng):
            values, positions = line(rng, reference, current)
            lists = [" ".join(map(str, part)) for part in (reference, current, positions)]
            out.writerow(lists + [repr(float(value)) for value in values])


if __name__ == "__main__":
    main()
