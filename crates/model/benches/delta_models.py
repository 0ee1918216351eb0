"""Really trained models for the `delta` benchmark, and what bsdiff makes of them.

    python delta_models.py make DIGITS.csv FOLDER     # numpy, onnx
    python delta_models.py bsdiff OLD NEW             # bsdiff4: bytes of the patch, milliseconds to apply it

A network of 64-1280-1280-10 (1.7 million weights) learns digits, then learns on in the ways of practice from samples it has not seen.
"""

import os
import sys
import time

import numpy as np

SIZES = [64, 1280, 1280, 10]


def start(seed):
    random = np.random.default_rng(seed)
    shapes = list(zip(SIZES, SIZES[1:]))
    weights = [random.normal(0, (2 / rows) ** 0.5, (rows, columns)).astype(np.float32) for rows, columns in shapes]
    return weights + [np.zeros(columns, np.float32) for columns in SIZES[1:]]


def gradients(parameters, x, y):
    weights, biases = parameters[:3], parameters[3:]
    layers = [x]
    for at in range(3):
        x = layers[-1] @ weights[at] + biases[at]
        layers.append(np.maximum(x, 0) if at < 2 else x)
    scores = np.exp(x - x.max(1, keepdims=True))
    back = scores / scores.sum(1, keepdims=True)
    back[np.arange(len(y)), y] -= 1
    back /= len(y)
    of_weights, of_biases = [None] * 3, [None] * 3
    for at in (2, 1, 0):
        of_weights[at], of_biases[at] = layers[at].T @ back, back.sum(0)
        if at:
            back = (back @ weights[at].T) * (layers[at] > 0)
    return of_weights + of_biases


def train(parameters, x, y, optimiser, rate, epochs, seed, only=range(6)):
    """A copy of `parameters` after training; only those in `only` change."""
    parameters = [parameter.copy() for parameter in parameters]
    random, step = np.random.default_rng(seed), 0
    mean, square = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    for _ in range(epochs):
        order = random.permutation(len(x))
        for at in range(0, len(x), 32):
            batch = order[at : at + 32]
            step += 1
            found = gradients(parameters, x[batch], y[batch])
            for index in only:
                gradient = found[index].astype(np.float32)
                if optimiser == "sgd":
                    parameters[index] -= np.float32(rate) * gradient
                    continue
                mean[index] = np.float32(0.9) * mean[index] + np.float32(0.1) * gradient
                square[index] = np.float32(0.999) * square[index] + np.float32(0.001) * gradient**2
                corrected = mean[index] / np.float32(1 - 0.9**step)
                spread = np.sqrt(square[index] / np.float32(1 - 0.999**step)) + np.float32(1e-8)
                parameters[index] -= np.float32(rate) * corrected / spread
    return parameters


def accuracy(parameters, x, y):
    for at in range(3):
        x = x @ parameters[at] + parameters[3 + at]
        x = np.maximum(x, 0) if at < 2 else x
    return (x.argmax(1) == y).mean()


def save(parameters, form, path):
    """As ONNX: f32, f16, or weights as int8 with a scale for each output."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, value = [], [], "x"
    kind = TensorProto.FLOAT16 if form == "f16" else TensorProto.FLOAT
    for at in range(3):
        weight, bias = parameters[at], parameters[3 + at]
        name = f"layer{at}.weight"
        if form == "int8":
            scale = (np.abs(weight).max(0) / 127).astype(np.float32)
            whole = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
            constants += [numpy_helper.from_array(whole, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=1))
        else:
            constants.append(numpy_helper.from_array(weight.astype(np.float16) if form == "f16" else weight, name))
        constants.append(numpy_helper.from_array(bias.astype(np.float16) if form == "f16" else bias, f"layer{at}.bias"))
        nodes.append(helper.make_node("Gemm", [value, name, f"layer{at}.bias"], [f"h{at}"]))
        value = f"h{at}"
        if at < 2:
            nodes.append(helper.make_node("Relu", [value], [f"r{at}"]))
            value = f"r{at}"
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", kind, ["rows", 64])],
        [helper.make_tensor_value_info(value, kind, ["rows", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def make(digits, folder):
    table = np.loadtxt(digits, delimiter=",", skiprows=1, dtype=np.float32)
    x, y = table[:, :64] / 16, table[:, 64].astype(int)
    old, new, rest = slice(0, 900), slice(900, 1400), slice(1400, None)
    base = train(start(1), x[old], y[old], "adam", 1e-3, 12, 1)
    cases = {
        "base": base,
        "head": train(base, x[new], y[new], "adam", 1e-3, 5, 2, only=(2, 5)),
        "sgd-1e-3": train(base, x[new], y[new], "sgd", 1e-3, 3, 2),
        "sgd-1e-2": train(base, x[new], y[new], "sgd", 1e-2, 3, 2),
        "adam-1e-5": train(base, x[new], y[new], "adam", 1e-5, 3, 2),
        "adam-1e-4": train(base, x[new], y[new], "adam", 1e-4, 3, 2),
        "warm-1e-3": train(base, x[: new.stop], y[: new.stop], "adam", 1e-3, 8, 2),
        "new-seed": train(start(7), x[: new.stop], y[: new.stop], "adam", 1e-3, 12, 7),
    }
    for name, parameters in cases.items():
        print(f"{name}: accuracy {accuracy(parameters, x[rest], y[rest]):.3f}", file=sys.stderr)
        for form in ("f32", "f16", "int8"):
            save(parameters, form, os.path.join(folder, f"{name}-{form}.onnx"))


def bsdiff(old, new):
    import bsdiff4

    old, new = open(old, "rb").read(), open(new, "rb").read()
    patch = bsdiff4.diff(old, new)
    begun = time.perf_counter()
    assert bsdiff4.patch(old, patch) == new
    print(len(patch), (time.perf_counter() - begun) * 1e3)


if __name__ == "__main__":
    make(*sys.argv[2:]) if sys.argv[1] == "make" else bsdiff(*sys.argv[2:])
