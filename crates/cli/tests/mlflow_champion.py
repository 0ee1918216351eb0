# A model is trained where the user trains, logged as ONNX, registered, and made champion.
import csv
import json
import os

import mlflow
import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

with open(os.environ["ROWS"]) as file:
    table = list(csv.reader(file))[1:]
x = np.array([row[:2] for row in table], dtype=np.float32)
y = np.array([row[2] for row in table])
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
onnx = to_onnx(model, x[:1], options={"zipmap": False}, target_opset=17)
with mlflow.start_run():
    mlflow.onnx.log_model(onnx, name="pumps", registered_model_name="pump states")
rows = x[:6]
print(json.dumps({"rows": [float(v) for v in rows.ravel()], "labels": list(model.predict(rows))}))
mlflow.MlflowClient().set_registered_model_alias("pump states", "champion", "1")
print("all of it")
