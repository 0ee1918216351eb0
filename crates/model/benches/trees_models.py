"""Models for the `trees` benchmark, and ONNX Runtime's times on the same files and rows.

    python trees_models.py make FOLDER          # scikit-learn, skl2onnx
    python trees_models.py time FOLDER/*.onnx   # onnxruntime, one thread
"""

import sys
import time

import numpy as np

RUNS = 301


def make(folder):
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier

    x = np.random.default_rng(0).uniform(-2, 2, size=(4000, 20)).astype(np.float32)
    score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3]
    two, five = (score > 0).astype(int), np.digitize(score, [-2, -0.5, 0.5, 2])
    models = [
        ("gbt200_binary", GradientBoostingClassifier(n_estimators=200, max_depth=4, random_state=1), two),
        ("gbt200_regressor", GradientBoostingRegressor(n_estimators=200, max_depth=6, random_state=1), score),
        ("gbt40x5_multiclass", GradientBoostingClassifier(n_estimators=40, max_depth=4, random_state=1), five),
        ("forest100_multiclass", RandomForestClassifier(100, max_depth=10, random_state=1), five),
    ]
    for name, model, y in models:
        model.fit(x, y)
        options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
        onnx = to_onnx(model, x[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
        with open(f"{folder}/{name}.onnx", "wb") as file:
            file.write(onnx.SerializeToString())


def measure(paths):
    import onnxruntime

    for path in paths:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        width = given.shape[1]
        for rows in (1, 1000):
            at = np.arange(16 * rows * width, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            values = (at >> np.uint64(40)).astype(np.float32) / np.float32(4194304.0) - np.float32(2)
            calls, times = values.reshape(16, rows, width), []
            for run in range(RUNS):
                feed = {given.name: calls[run % 16]}
                begin = time.perf_counter()
                session.run(None, feed)
                times.append(time.perf_counter() - begin)
            print(f"{path} batch {rows}: {sorted(times)[RUNS // 2] * 1e6 / rows:.3f} us/row")


if __name__ == "__main__":
    make(sys.argv[2]) if sys.argv[1] == "make" else measure(sys.argv[2:])
