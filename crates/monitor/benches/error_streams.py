"""Labels from a change to its alarm on the errors of real models, ours over ADWIN: python3 crates/monitor/benches/error_streams.py

Needs `pip install scikit-learn pandas`. Elec2, covertype and weather come from the source archive of scikit-multiflow 0.4.1 on
PyPI (BSD-3-Clause; the sets are A. Bifet's Elec2, UCI covertype and NOAA weather at Offutt), which is kept in a temporary folder.

Rows are shuffled, so nothing changes but what is changed here: a model learns from a third, its errors on another third are the
baseline, and the rest is asked as it is and once more with its inputs disturbed. The benchmark draws from these.
"""

import hashlib
import json
import pathlib
import subprocess
import tarfile
import tempfile
import urllib.request

import numpy
import pandas
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ARCHIVE = (
    "https://files.pythonhosted.org/packages/57/53/1c90bc05e4fbf2cb768ed140d7a9bce301d671cce7bdc15b82522ede1b3e/"
    "scikit-multiflow-0.4.1.tar.gz"
)
SHA256 = "ed4f791107cb7f789f0bb0620c50e743a4d397905146a4d06c62eb98607aa101"
SETS = {"elec2": "elec.csv", "covertype": "covtype.csv", "weather": "weather.csv"}
FOLDER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets"
ROWS = 60_000
SEED = 2026


def archive():
    path = pathlib.Path(tempfile.gettempdir()) / "scikit-multiflow-0.4.1.tar.gz"
    if not path.exists():
        urllib.request.urlretrieve(ARCHIVE, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {SHA256}: delete it and run again")
    return path


def rows_of(name):
    with tarfile.open(archive()) as packed:
        table = pandas.read_csv(packed.extractfile(f"{FOLDER}/{SETS[name]}")).to_numpy()
    order = numpy.random.default_rng(SEED).permutation(len(table))[:ROWS]
    return table[order, :-1].astype(float), table[order, -1].astype(int)


def models():
    return {
        "gradient boosting": HistGradientBoostingClassifier(max_iter=60, random_state=SEED),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=400)),
    }


def disturbances(features, first, second):
    """The inputs after each change; `first` and `second` are the features that matter most."""
    swapped = features.copy()
    swapped[:, [first, second]] = features[:, [second, first]]
    stuck = features.copy()
    stuck[:, first] = numpy.median(features[:, first])
    offset = features.copy()
    offset[:, first] += features[:, first].std()
    noisy = features.copy()
    noisy[:, first] += numpy.random.default_rng(SEED).normal(0, features[:, first].std() / 2, len(features))
    return {"two swapped": swapped, "one stuck": stuck, "one offset by 1 sd": offset, "one noisy": noisy}


def streams():
    for name in SETS:
        features, target = rows_of(name)
        third = len(target) // 3
        train, held, rest = (slice(i * third, (i + 1) * third) for i in range(3))
        for kind, model in models().items():
            model.fit(features[train], target[train])
            matters = permutation_importance(
                model, features[held][:4000], target[held][:4000], n_repeats=3, random_state=SEED
            ).importances_mean
            first, second = numpy.argsort(matters)[::-1][:2]
            wrong = lambda inputs, part: (model.predict(inputs) != target[part]).astype(int).tolist()
            before = wrong(features[rest], rest)
            held_wrong = sum(wrong(features[held], held))
            for change, inputs in disturbances(features[rest], first, second).items():
                yield {
                    "name": f"{name}, {kind}, {change}",
                    "held": third,
                    "held_wrong": held_wrong,
                    "before": before,
                    "after": wrong(inputs, rest),
                }


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for stream in streams():
            file.write(json.dumps(stream) + "\n")
        file.flush()
        command = ["cargo", "bench", "-p", "edgeward-monitor", "--bench", "error_streams", "--", f"file={file.name}"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
