"""What a run with nothing new costs: `edgeward run` beside `dvc repro` and a bare stat of every file, on one project.

    cargo build --release
    python3 -m venv venv && venv/bin/pip install dvc
    venv/bin/python crates/pipeline/benches/no_op.py target/release/edgeward --dvc venv/bin/dvc

Makes a folder with a training command that depends on many files, 1 GB in all; runs both pipelines once, so that
everything is cached; then measures each with nothing new, in turn. Prints medians and ratios as JSON.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

PROJECT = """[project]
name = "{name}"
[data]
files = ["data.csv"]
[train]
{train}
"""
DVC = """stages:
  train:
    cmd: cp model.onnx trained.onnx
    deps: [data.csv, files, model.onnx]
    outs: [trained.onnx]
"""
# Every file's size, time and inode, by a program in C.
STAT = ["find", "data.csv", "model.onnx", "files", "-type", "f", "-printf", "%s %T@ %C@ %i %p\\n"]


def make(folder, files, total_bytes):
    """The data, the files the training command depends on, and both pipelines."""
    chance = random.Random(1)
    with open(folder / "data.csv", "w") as data:
        data.write("a,b,label\n")
        for _ in range(400):
            a, b = chance.random(), chance.random()
            data.write(f"{a:.6f},{b:.6f},{int(a > b)}\n")
    size = total_bytes // files
    for at in range(files):
        below = folder / "files" / f"{at // 500:03}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{at:06}.bin").write_bytes(chance.randbytes(size))
    (folder / "dvc.yaml").write_text(DVC)


def run(command, folder):
    """Seconds on the clock and of CPU that a command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stdout}{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout + done.stderr


def model(edgeward, folder):
    """A model that is trained once, so that what is measured trains nothing."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        shutil.copy(folder / "data.csv", place)
        (place / "edgeward.toml").write_text(PROJECT.format(name="once", train='builtin = "logistic"'))
        run([edgeward, "run"], place)
        made = sorted(place.glob(".edgeward/cache/*/model.onnx"))
        shutil.copy(made[0], folder / "model.onnx")


def main():
    """Makes, warms and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgeward", type=Path)
    parser.add_argument("--dvc", default="dvc")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    edgeward, dvc = str(asked.edgeward.resolve()), str(Path(asked.dvc).resolve()) if os.sep in asked.dvc else asked.dvc
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make(folder, asked.files, asked.megabytes * 1_000_000)
        model(edgeward, folder)
        command = 'run = "cp model.onnx $EDGEWARD_MODEL_OUT"\ndeps = ["files/**/*", "model.onnx"]'
        (folder / "edgeward.toml").write_text(PROJECT.format(name="no-op", train=command))
        run([dvc, "init", "--no-scm", "--quiet"], folder)
        commands = {"edgeward": [edgeward, "run"], "dvc": [dvc, "repro"], "stat": STAT}
        first = {name: run(command, folder)[0] for name, command in commands.items()}
        time.sleep(0.1)
        measured = {name: [] for name in commands}
        for _ in range(asked.repeats + 1):
            for name, command in commands.items():
                wall, cpu, said = run(command, folder)
                if name == "edgeward" and ": done in" in said:
                    raise SystemExit(f"edgeward had something to do: {said}")
                measured[name].append((wall, cpu))
        # The first of each still warms the caches of the file system.
        median = lambda name, at: statistics.median(times[at] for times in measured[name][1:])
        print(
            json.dumps(
                {
                    "files": asked.files,
                    "megabytes": asked.megabytes,
                    "repeats": asked.repeats,
                    "first_run_s": {name: round(seconds, 2) for name, seconds in first.items()},
                    "no_op_wall_s": {name: round(median(name, 0), 4) for name in commands},
                    "no_op_cpu_s": {name: round(median(name, 1), 4) for name in commands},
                    "dvc_over_edgeward": round(median("dvc", 0) / median("edgeward", 0), 1),
                    "edgeward_over_stat": round(median("edgeward", 0) / median("stat", 0), 2),
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
