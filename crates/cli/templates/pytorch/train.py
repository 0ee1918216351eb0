"""Trains on the rows that the pipeline hands over, and writes an ONNX file: run by `edgeward run`."""

import csv
import json
import os

import numpy as np
import onnx
import torch

params = json.loads(os.environ["EDGEWARD_PARAMS"])
torch.manual_seed(int(os.environ["EDGEWARD_SEED"]))
with open(os.environ["EDGEWARD_TRAIN_DATA"], newline="") as file:
    rows = list(csv.reader(file))[1:]
x = torch.tensor(np.array([row[:-1] for row in rows], dtype=np.float32))
classes = sorted({row[-1] for row in rows})
y = torch.tensor([classes.index(row[-1]) for row in rows])


class Scaled(torch.nn.Module):
    """Standardised inputs: what the app sends stays as it was measured."""

    def __init__(self, mean, deviation, layers):
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, values):
        return self.layers((values - self.mean) / self.deviation)


layers = torch.nn.Sequential(
    torch.nn.Linear(x.shape[1], params["hidden"]), torch.nn.ReLU(), torch.nn.Linear(params["hidden"], len(classes)))
model = Scaled(x.mean(0), x.std(0), layers)
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(params["epochs"]):
    optimiser.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimiser.step()

path = os.environ["EDGEWARD_MODEL_OUT"]
torch.onnx.export(
    model.eval(), (x[:1],), path, input_names=["input"], output_names=["logits"], dynamo=False,
    dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})
written = onnx.load(path)
entry = written.metadata_props.add()
entry.key, entry.value = "edgeward.classes", json.dumps(classes)
onnx.save(written, path)
with open(os.environ["EDGEWARD_METRICS_OUT"], "w") as file:
    json.dump({"train_loss": float(loss)}, file)
