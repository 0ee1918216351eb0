"""Trains a small convolutional network on the digits and writes it as ONNX: run by `edgeward run`, see edgeward.toml."""

import csv
import json
import os

import numpy as np
import onnx
import torch
from torch import nn


def rows(path):
    """Pixels as float32 of [rows, 64], and the labels as texts."""
    with open(path, newline="") as file:
        table = list(csv.reader(file))[1:]
    return np.array([row[:-1] for row in table], dtype=np.float32), [row[-1] for row in table]


class Digits(nn.Module):
    """One logit per class, from one image of 8 x 8 grey pixels (0 to 16) as a row of 64 numbers."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, classes))

    def forward(self, pixels):
        return self.head(self.features(pixels.reshape(-1, 1, 8, 8) / 16.0))


def fit(model, x, y, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        total = 0.0
        for batch in order.split(64):
            optimizer.zero_grad()
            loss = loss_of(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(x):.4f}", flush=True)
    model.eval()


def export(model, classes, path, exporter):
    example = torch.zeros(2, 64)
    names = {"input_names": ["pixels"], "output_names": ["logits"]}
    if exporter == "torchscript":
        torch.onnx.export(model, (example,), path, dynamo=False, dynamic_axes={"pixels": {0: "batch"}}, **names)
    else:
        batch = torch.export.Dim("batch")
        torch.onnx.export(model, (example,), path, dynamo=True, external_data=False,
                          dynamic_shapes=({0: batch},), **names)
    written = onnx.load(path)
    # The meaning of the outputs, in their order.
    onnx.helper.set_model_props(written, {"edgeward.classes": json.dumps(classes)})
    onnx.save(written, path)


def main():
    params = json.loads(os.environ.get("EDGEWARD_PARAMS", "{}"))
    torch.manual_seed(int(os.environ.get("EDGEWARD_SEED", "0")))
    torch.use_deterministic_algorithms(True)
    pixels, labels = rows(os.environ["EDGEWARD_TRAIN_DATA"])
    classes = sorted(set(labels))
    x = torch.from_numpy(pixels)
    y = torch.tensor([classes.index(label) for label in labels])
    model = Digits(len(classes))
    fit(model, x, y, int(params.get("epochs", 20)))
    with torch.no_grad():
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    export(model, classes, os.environ["EDGEWARD_MODEL_OUT"], params.get("exporter", "dynamo"))
    with open(os.environ["EDGEWARD_METRICS_OUT"], "w") as file:
        json.dump({"train_accuracy": accuracy}, file)


if __name__ == "__main__":
    main()
