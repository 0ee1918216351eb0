"""Values per second of whylogs and of DataSketches' KLL beside ours, in one run: python3 crates/monitor/benches/peers.py

Needs `pip install whylogs datasketches numpy pandas`. Each side takes 20 columns of normal numbers on one core; the best of
three repetitions counts. Ours is `cargo bench -p edgeward-monitor --bench monitor`: profile, detector and outliers, in
blocks; the others only sketch.
"""

import re
import subprocess
import time

import datasketches
import numpy
import pandas
import whylogs

COLUMNS = 20
WHYLOGS_ROWS = 100_000
KLL_ROWS = 1_000_000


def best(work, values):
    def once():
        start = time.perf_counter()
        work()
        return values / (time.perf_counter() - start)

    return max(once() for _ in range(3))


def sketch_all(table):
    sketches = datasketches.vector_of_kll_floats_sketches(200, COLUMNS)
    sketches.update(table)


def ours():
    command = ["cargo", "bench", "-p", "edgeward-monitor", "--bench", "monitor"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"in blocks.*?([\d.]+) M values/s", printed)[1]) * 1e6


def main():
    table = numpy.random.default_rng(1).standard_normal((KLL_ROWS, COLUMNS)).astype(numpy.float32)
    frame = pandas.DataFrame(table[:WHYLOGS_ROWS], columns=[f"f{i}" for i in range(COLUMNS)])
    edgeward = ours()
    sides = {
        "whylogs": best(lambda: whylogs.log(frame), WHYLOGS_ROWS * COLUMNS),
        "datasketches KLL (C++)": best(lambda: sketch_all(table), KLL_ROWS * COLUMNS),
    }
    print(f"edgeward, in blocks: {edgeward / 1e6:.1f} M values/s")
    for name, rate in sides.items():
        print(f"{name}: {rate / 1e6:.1f} M values/s, edgeward {edgeward / rate:.1f} times as many")


if __name__ == "__main__":
    main()
