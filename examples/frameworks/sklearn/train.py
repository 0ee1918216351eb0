"""Trains scikit-learn models on the digits and writes one as ONNX: run by `edgeward run`, see edgeward.toml.

`params.model` says which: "gbt" (boosted trees), "mlp" (a perceptron) or "logistic".
"""

import csv
import json
import os

import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler


def rows(path):
    """Pixels as float32 of [rows, 64], and the labels as texts."""
    with open(path, newline="") as file:
        table = list(csv.reader(file))[1:]
    return np.array([row[:-1] for row in table], dtype=np.float32), np.array([row[-1] for row in table])


def pipeline(name, seed):
    models = {
        "gbt": lambda: GradientBoostingClassifier(
            n_estimators=40, max_depth=3, subsample=0.7, max_features=8, random_state=seed),
        "mlp": lambda: make_pipeline(
            MinMaxScaler(), MLPClassifier((48,), max_iter=80, early_stopping=True, random_state=seed)),
        "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
    }
    if name not in models:
        raise SystemExit(f"params.model = {name!r}: use one of {', '.join(models)}")
    return models[name]()


def main():
    params = json.loads(os.environ.get("EDGEWARD_PARAMS", "{}"))
    pixels, labels = rows(os.environ["EDGEWARD_TRAIN_DATA"])
    model = pipeline(params.get("model", "gbt"), int(os.environ.get("EDGEWARD_SEED", "0")))
    model.fit(pixels, labels)
    # Without ZipMap the probabilities are one matrix instead of a list of maps.
    onnx = to_onnx(model, pixels[:1], options={"zipmap": False}, target_opset=17)
    with open(os.environ["EDGEWARD_MODEL_OUT"], "wb") as file:
        file.write(onnx.SerializeToString())
    with open(os.environ["EDGEWARD_METRICS_OUT"], "w") as file:
        json.dump({"train_accuracy": model.score(pixels, labels)}, file)


if __name__ == "__main__":
    main()
