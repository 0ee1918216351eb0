"""Trains on the rows that the pipeline hands over, and writes an ONNX file: run by `edgeward run`."""

import csv
import json
import os

import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

params = json.loads(os.environ["EDGEWARD_PARAMS"])
with open(os.environ["EDGEWARD_TRAIN_DATA"], newline="") as file:
    rows = list(csv.reader(file))[1:]
x = np.array([row[:-1] for row in rows], dtype=np.float32)
y = np.array([row[-1] for row in rows])

trees = GradientBoostingClassifier(n_estimators=params["trees"], random_state=int(os.environ["EDGEWARD_SEED"]))
model = make_pipeline(StandardScaler(), trees).fit(x, y)

# Without ZipMap the probabilities are one matrix instead of a list of maps.
onnx = to_onnx(model, x[:1], options={"zipmap": False}, target_opset=17)
with open(os.environ["EDGEWARD_MODEL_OUT"], "wb") as file:
    file.write(onnx.SerializeToString())
with open(os.environ["EDGEWARD_METRICS_OUT"], "w") as file:
    json.dump({"train_accuracy": model.score(x, y)}, file)
