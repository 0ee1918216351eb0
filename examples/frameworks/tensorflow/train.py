"""Trains a small Keras network on the digits and writes it as ONNX: run by `edgeward run`, see edgeward.toml."""

import csv
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx


def rows(path):
    """Pixels as float32 of [rows, 64], and the labels as texts."""
    with open(path, newline="") as file:
        table = list(csv.reader(file))[1:]
    return np.array([row[:-1] for row in table], dtype=np.float32), [row[-1] for row in table]


def network(classes):
    """One probability per class, from one image of 8 x 8 grey pixels (0 to 16) as a row of 64 numbers."""
    return keras.Sequential([
        keras.Input((64,), name="pixels", dtype="float32"),
        keras.layers.Rescaling(1 / 16),
        keras.layers.Reshape((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.SeparableConv2D(32, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(classes, activation="softmax", name="probabilities"),
    ])


def export(model, classes, path, exporter):
    signature = [tf.TensorSpec([None, 64], tf.float32, name="pixels")]
    if exporter == "tf2onnx":
        call = tf.function(lambda pixels: {"probabilities": model(pixels, training=False)}, signature)
        tf2onnx.convert.from_function(call, signature, opset=17, output_path=path)
    else:
        model.export(path, format="onnx", input_signature=signature, opset_version=17, verbose=False)
    written = onnx.load(path)
    # The meaning of the outputs, in their order.
    onnx.helper.set_model_props(written, {"edgeward.classes": json.dumps(classes)})
    onnx.save(written, path)


def main():
    params = json.loads(os.environ.get("EDGEWARD_PARAMS", "{}"))
    keras.utils.set_random_seed(int(os.environ.get("EDGEWARD_SEED", "0")))
    tf.config.experimental.enable_op_determinism()
    pixels, labels = rows(os.environ["EDGEWARD_TRAIN_DATA"])
    classes = sorted(set(labels))
    answers = np.array([classes.index(label) for label in labels])
    model = network(len(classes))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 3e-3
    model.fit(pixels, answers, batch_size=64, epochs=int(params.get("epochs", 20)), verbose=2)
    accuracy = float(model.evaluate(pixels, answers, verbose=0, return_dict=True)["accuracy"])
    export(model, classes, os.environ["EDGEWARD_MODEL_OUT"], params.get("exporter", "keras"))
    with open(os.environ["EDGEWARD_METRICS_OUT"], "w") as file:
        json.dump({"train_accuracy": accuracy}, file)


if __name__ == "__main__":
    main()
