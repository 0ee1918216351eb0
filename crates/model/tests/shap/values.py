"""Trains models, writes them as ONNX with what the shap package says of some rows.

    values.py FOLDER check|bench

Writes FOLDER/<case>.onnx and <case>.json: {"kind", "width", "rows", "background", "training", "outputs", "values", "base",
"seconds"}; `values` go row by row, feature by feature, output by output.
"""

import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
import shap
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_regression
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.neural_network import MLPRegressor

FOLDER, MODE = sys.argv[1:]


def numbers(array):
    return np.asarray(array, dtype=np.float64).ravel().tolist()


def write(case, kind, model, x, rows, background, values, base, seconds):
    values = np.asarray(values)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.shape[2] == 2:  # the second class of two says it all
        values, base = values[:, :, 1:], np.asarray(base)[1:]
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    onnx = to_onnx(model, x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
    with open(os.path.join(FOLDER, case + ".onnx"), "wb") as file:
        file.write(onnx.SerializeToString())
    said = {
        "kind": kind,
        "width": x.shape[1],
        "rows": numbers(rows),
        "background": numbers(background),
        "training": numbers(x),
        "outputs": values.shape[2],
        "values": numbers(values),
        "base": numbers(base),
        "seconds": seconds,
    }
    with open(os.path.join(FOLDER, case + ".json"), "w") as file:
        json.dump(said, file)


def trees(case, model, x, y, rows, background):
    # On a binary grid, so that thresholds, which lie half-way between values, are the same in 32 bits: the exporter
    # rounds them, and a value at a threshold would fall on the other side.
    x, rows, background = (np.round(array * 1024) / 1024 for array in (x, rows, background))
    x = x.astype(np.float32)
    rows, background = rows.astype(np.float32), background.astype(np.float32)
    model.fit(x, y)
    for kind in ["interventional", "path_dependent"]:
        if kind == "interventional":
            explainer = shap.TreeExplainer(model, background, feature_perturbation=kind)
        else:
            explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
        explainer.shap_values(rows[:2], check_additivity=False)
        begin = time.perf_counter()
        values = explainer.shap_values(rows, check_additivity=False)
        seconds = time.perf_counter() - begin
        base = np.atleast_1d(explainer.expected_value)
        write(f"{case}_{kind}", kind, model, x, rows, background, values, base, seconds)


def check():
    x, y = load_diabetes(return_X_y=True)
    rows, background = x[:60], x[200:250]
    trees("gbt", GradientBoostingRegressor(n_estimators=60, max_depth=5, random_state=1), x, y, rows, background)
    # Without bootstrap every tree's node counts are those of the training rows, which the test counts anew.
    forest = RandomForestRegressor(n_estimators=30, bootstrap=False, max_features=4, random_state=1)
    trees("forest", forest, x, y, rows, background)
    trees("extra", ExtraTreesRegressor(n_estimators=30, max_depth=9, random_state=1), x, y, rows, background)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    rows, background = x[:5], x[200:220]
    mlp = MLPRegressor(hidden_layer_sizes=[16], random_state=1, max_iter=400).fit(x, y)
    masker = shap.maskers.Independent(background, max_samples=20)
    found = shap.explainers.Exact(mlp.predict, masker)(rows)
    write("mlp", "exact", mlp, x, rows, background, found.values, found.base_values[:1], 0.0)

    x, y = load_breast_cancer(return_X_y=True)
    rows, background = x[:60], x[200:250]
    trees("gbt_binary", GradientBoostingClassifier(n_estimators=60, random_state=1), x, y, rows, background)
    forest = RandomForestClassifier(n_estimators=30, bootstrap=False, random_state=1)
    trees("forest_binary", forest, x, y, rows, background)
    x, y = load_wine(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=30, bootstrap=False, random_state=1)
    trees("forest_classes", forest, x, y, x[::3], x[1::4])


def bench():
    x, y = make_regression(n_samples=4000, n_features=20, n_informative=12, noise=5.0, random_state=1)
    rows, background = x[:1000], x[2000:2100]
    gbt = GradientBoostingRegressor(n_estimators=100, max_depth=3, random_state=1)
    trees("gbt_depth_3", gbt, x, y, rows, background)
    gbt = GradientBoostingRegressor(n_estimators=100, max_depth=6, random_state=1)
    trees("gbt_depth_6", gbt, x, y, rows, background)
    forest = RandomForestRegressor(n_estimators=100, max_depth=10, random_state=1)
    trees("forest_depth_10", forest, x, y, rows, background)
    forest = RandomForestRegressor(n_estimators=30, random_state=1)
    trees("forest_unlimited", forest, x, y, rows, background)
    x, y = load_breast_cancer(return_X_y=True)
    rows = np.concatenate([x, x[:431] * 1.01])
    forest = RandomForestClassifier(n_estimators=100, random_state=1)
    trees("forest_binary", forest, x, y, rows, x[::6])


{"check": check, "bench": bench}[MODE]()
