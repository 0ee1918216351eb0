"""Answers the steps of testkit/apps/steps.txt with the Python package."""

import re
import sys
import time

import edgeward
import numpy as np

DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}
model = session = answer = pause = None


def serving():
    if model is None:
        raise edgeward.InvalidArgument("no model is open")
    return model


def shape_of(shape):
    return "[" + ",".join(str(-1 if size is None else size) for size in shape) + "]"


def nth(specs, at):
    if int(at) >= len(specs):
        raise edgeward.InvalidArgument(f"there is no tensor {at}")
    spec = specs[int(at)]
    return f"{spec.name} {spec.datatype} {shape_of(spec.shape)}"


def answered():
    if answer is None:
        raise edgeward.InvalidArgument("nothing was asked yet")
    return answer


def said(name):
    try:
        values = answered()[name]
    except KeyError as error:
        raise edgeward.InvalidArgument(str(error)) from error
    datatype = next(word for word, dtype in DTYPES.items() if values.dtype == dtype)
    return f"{datatype} {shape_of(values.shape)} " + " ".join(f"{value:.6f}" for value in values.ravel())


def row(at):
    rows = answered().rows
    if int(at) >= len(rows):
        raise edgeward.InvalidArgument(f"there is no row {at}")
    row = rows[int(at)]
    predicted = -1 if row.predicted is None else row.predicted
    return f"{predicted} {row.label or '-'} {row.confidence:.6f}"


def step(word, *rest):
    global model, answer, pause
    if word == "open":
        model = edgeward.Model.open(rest[0])
    elif word == "follow":
        model = edgeward.Model.follow(*rest)
    elif word == "close":
        serving().close()
        model = answer = None
    elif word == "wait":
        serving().wait(int(rest[0]) / 1000)
    elif word == "wait_generation":
        until = time.monotonic() + 20
        while serving().generation < int(rest[0]):
            if time.monotonic() > until:
                raise edgeward.TimedOut("no model took over")
            time.sleep(0.01)
    elif word == "generation":
        return str(serving().generation)
    elif word == "digest":
        return serving().pin().digest
    elif word == "input":
        return nth(serving().inputs, rest[0])
    elif word == "output":
        return nth(serving().outputs, rest[0])
    elif word == "infer":
        name, datatype, shape, *values = rest
        sizes = [int(size) for size in shape.strip("[]").split(",")]
        array = np.array([float(value) for value in values]).astype(DTYPES[datatype]).reshape(sizes)
        answer = serving().infer({name: array})
    elif word == "said":
        return said(rest[0])
    elif word == "row":
        return row(rest[0])
    elif word == "label":
        serving().label(answered(), rest[1], int(rest[0]))
    elif word == "pause":
        pause = serving().pause(int(rest[0]) / 1000)
    elif word == "resume":
        pause.end()
    else:
        raise AssertionError(f"what is {word}?")
    return ""


for line in sys.stdin:
    try:
        print(f"ok {step(*line.split())}".rstrip(), flush=True)
    except edgeward.EdgewardError as error:
        status = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
        print(status, " ".join(str(error).split()), flush=True)
