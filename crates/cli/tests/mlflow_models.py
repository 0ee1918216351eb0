# Models as people log them: scikit-learn by itself, registered on the way; ONNX; each loaded again and asked the same.
import mlflow
import numpy as np
from mlflow import MlflowClient
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

client = MlflowClient()
x, y = load_iris(return_X_y=True)
x = x.astype(np.float32)


def autologged():
    mlflow.set_experiment("iris")
    mlflow.sklearn.autolog(registered_model_name="iris")
    model = LogisticRegression(max_iter=500)
    with mlflow.start_run() as run:
        model.fit(x, y)
        assert model.score(x, y) > 0.9
    mlflow.sklearn.autolog(disable=True)
    run = client.get_run(run.info.run_id)
    assert run.data.params["max_iter"] == "500" and run.data.metrics["training_accuracy_score"] > 0.9
    assert run.inputs.dataset_inputs and run.outputs.model_outputs
    versions = client.search_model_versions("name = 'iris'")
    assert len(versions) == 1 and versions[0].version == "1", versions
    client.set_registered_model_alias("iris", "champion", "1")
    for uri in ["models:/iris@champion", "models:/iris/1", "models:/iris/latest", versions[0].source]:
        loaded = mlflow.pyfunc.load_model(uri)
        assert (loaded.predict(x) == model.predict(x)).all(), uri
    assert (mlflow.sklearn.load_model("models:/iris@champion").predict(x) == model.predict(x)).all()
    assert loaded.metadata.get_input_schema() is not None


def registered_by_hand():
    small = LogisticRegression(C=0.01, max_iter=500).fit(x, y)
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(small, name="small", input_example=x[:2])
    version = mlflow.register_model(info.model_uri, "iris")
    assert version.version == "2" and version.run_id == run.info.run_id
    assert (mlflow.pyfunc.load_model("models:/iris/2").predict(x) == small.predict(x)).all()
    # The address that older scripts use.
    version = mlflow.register_model(f"runs:/{run.info.run_id}/small", "iris")
    assert version.version == "3"
    assert (mlflow.pyfunc.load_model("models:/iris/3").predict(x) == small.predict(x)).all()
    assert (mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/small").predict(x) == small.predict(x)).all()


def as_onnx():
    model = LogisticRegression(max_iter=500).fit(x, y)
    onnx = to_onnx(model, x[:1], options={"zipmap": False})
    with mlflow.start_run():
        info = mlflow.onnx.log_model(onnx, name="onnx", registered_model_name="iris-onnx", input_example=x[:2])
    client.set_registered_model_alias("iris-onnx", "champion", "1")
    loaded = mlflow.pyfunc.load_model("models:/iris-onnx@champion")
    said = loaded.predict(x)
    assert (np.asarray(said["label"]).ravel() == model.predict(x)).all()
    files = [file.path for file in client.list_logged_model_artifacts(info.model_id)]
    assert "MLmodel" in files and any(file.endswith(".onnx") for file in files), files


autologged()
registered_by_hand()
as_onnx()
print("all of it")
