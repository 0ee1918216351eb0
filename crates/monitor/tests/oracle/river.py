"""Writes river.csv beside itself, or with a seed as argument prints it: one line per step of river's detectors.

Made with river 0.26.1 by `python3 -P river.py` (-P, or this file would hide the package). Columns: stream, value, whether ADWIN alarmed, its width,
its mean, DDM's state on "value > 0.5" (0 stable, 1 warning, 2 drift), whether Page-Hinkley alarmed. Values are
multiples of 1/64, so that text holds them exactly.
"""

import csv
import pathlib
import random
import sys

from river.drift import ADWIN, PageHinkley
from river.drift.binary import DDM


def streams(rng):
    """Errors whose rate rises, values whose mean jumps, and values that never change."""
    yield "errors", [float(rng.random() < (0.1 if i < 900 else 0.35)) for i in range(1500)]
    yield "jumps", [rng.gauss([0.0, 1.0, -2.0][i // 600], 1.0) for i in range(1800)]
    yield "scaled", [rng.gauss(0.0 if i < 500 else 12.0, 9.0) for i in range(1000)]
    yield "null", [rng.uniform(-1.0, 1.0) for _ in range(1200)]


def write(rng, file):
    out = csv.writer(file, lineterminator="\n")
    for name, values in streams(rng):
        adwin, ddm, page = ADWIN(), DDM(), PageHinkley()
        for value in values:
            value = round(value * 64) / 64
            adwin.update(value)
            ddm.update(value > 0.5)
            page.update(value)
            state = 2 if ddm.drift_detected else 1 if ddm.warning_detected else 0
            out.writerow([
                name, value, int(adwin.drift_detected), int(adwin.width), repr(float(adwin.estimation)),
                state, int(page.drift_detected),
            ])


def main():
    if len(sys.argv) > 1:
        write(random.Random(int(sys.argv[1])), sys.stdout)
        return
    with open(pathlib.Path(__file__).with_name("river.csv"), "w", newline="") as file:
        write(random.Random(20200420), file)


if __name__ == "__main__":
    main()
