"""Writes metrics.csv beside itself: what scikit-learn says about labels, scores and residuals.

Made with scikit-learn 1.9.1 by `python3 -P metrics.py`. A line `case,NAME,CLASSES` begins a case; lines of data follow
(`TRUTH,PREDICTED,SCORE,SCORE...`, or `TRUTH,PREDICTED` of a regression, which has 0 classes), then lines
`=,METRIC,VALUE`. Scores and regression values are exact 32-bit floats. The calibration error has no function in
scikit-learn: it is made of `calibration_curve`'s bins.
"""

import csv
import pathlib

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve

BINS = 15
QUANTILE = 0.9


def calibration_error(correct, confidence):
    """Expected calibration error from scikit-learn's curve and the rows of its bins."""
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=BINS)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    rows = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=BINS)
    rows = rows[rows > 0]
    return float(np.sum(np.abs(accuracy - mean_confidence) * rows) / rows.sum())


def classification(truth, scores):
    """Metrics of a classifier that predicts the class of the greatest score."""
    predicted, classes = scores.argmax(axis=1), scores.shape[1]
    labels = list(range(classes))
    yield "accuracy", metrics.accuracy_score(truth, predicted)
    yield "balanced_accuracy", metrics.balanced_accuracy_score(truth, predicted)
    yield "f1_macro", metrics.f1_score(truth, predicted, average="macro")
    for label, value in zip(labels, metrics.f1_score(truth, predicted, average=None, labels=labels, zero_division=0)):
        yield f"f1/{label}", value
    double = scores.astype(np.float64)
    yield "log_loss", metrics.log_loss(truth, double, labels=labels)
    if classes == 2:
        yield "brier", metrics.brier_score_loss(truth, double[:, 1])
        yield "auc", metrics.roc_auc_score(truth, double[:, 1])
    else:
        yield "brier", metrics.brier_score_loss(truth, double, labels=labels)
        yield "auc", np.mean([metrics.roc_auc_score(truth == c, double[:, c]) for c in labels if 0 < sum(truth == c) < len(truth)])
    yield "calibration_error", calibration_error(predicted == truth, double.max(axis=1))


def regression(truth, predicted):
    """Metrics of a regression."""
    yield "mae", metrics.mean_absolute_error(truth, predicted)
    yield "rmse", metrics.root_mean_squared_error(truth, predicted)
    yield "quantile_loss", metrics.mean_pinball_loss(truth, predicted, alpha=QUANTILE)


def classifiers(rng):
    """Truths and scores: two classes, three, many, sure ones, and classes that no label names."""
    for name, classes, rows, sharpness in [
        ("two", 2, 400, 1.0), ("three", 3, 500, 2.0), ("ten", 10, 900, 3.0), ("sure", 2, 300, 20.0), ("coarse", 2, 300, 0.3),
    ]:
        logits = rng.normal(size=(rows, classes)) * sharpness
        truth = np.array([rng.choice(classes, p=p) for p in softmax(logits * 0.8)])
        if name == "ten":
            truth[truth == 7] = 1
        scores = softmax(logits)
        if name == "coarse":
            scores = np.round(scores * 8) / 8
        yield name, truth, scores.astype(np.float32)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def main():
    rng = np.random.default_rng(20200420)
    text = lambda value: repr(float(value))
    with open(pathlib.Path(__file__).with_name("metrics.csv"), "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        for name, truth, scores in classifiers(rng):
            out.writerow(["case", name, scores.shape[1]])
            for label, row in zip(truth, scores):
                out.writerow([label, row.argmax(), *(f"{value:.9g}" for value in row)])
            out.writerows(["=", metric, text(value)] for metric, value in classification(truth, scores))
        for name, scale in [("prices", 1e5), ("tiny", 1e-7), ("plain", 1.0)]:
            truth = (rng.normal(size=300) * scale).astype(np.float32)
            predicted = (truth + rng.standard_t(3, size=300) * scale / 4).astype(np.float32)
            out.writerow(["case", name, 0])
            out.writerows([f"{t:.9g}", f"{p:.9g}"] for t, p in zip(truth, predicted))
            pairs = regression(truth.astype(np.float64), predicted.astype(np.float64))
            out.writerows(["=", metric, text(value)] for metric, value in pairs)


if __name__ == "__main__":
    main()
