# Everything MlflowClient can ask of a tracking server and a model registry, each answer checked.
import math
import os
import threading
import time

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import (
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException


def refused(code, call, says=""):
    try:
        call()
    except MlflowException as error:
        assert error.error_code == code, (error.error_code, error.message)
        assert says in error.message, error.message
        return error
    raise AssertionError(f"{code} was expected")


client = MlflowClient()
ABSENT, INVALID, EXISTS = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"


def experiments():
    assert client.get_experiment("0").name == "Default"
    assert client.get_experiment_by_name("none") is None
    made = client.create_experiment("pumps", tags={"team": "a"})
    experiment = client.get_experiment(made)
    assert (experiment.name, experiment.lifecycle_stage, experiment.tags) == ("pumps", "active", {"team": "a"})
    assert experiment.artifact_location.startswith("mlflow-artifacts:/") and experiment.creation_time > 0
    assert client.get_experiment_by_name("pumps").experiment_id == made
    refused(EXISTS, lambda: client.create_experiment("pumps"))
    refused(INVALID, lambda: client.create_experiment(""))
    refused(ABSENT, lambda: client.get_experiment("4711"), "No Experiment with id=4711 exists")
    refused(INVALID, lambda: client.get_experiment("no number"))
    client.set_experiment_tag(made, "stage", "test")
    client.set_experiment_tag(made, "team", "b")
    assert client.get_experiment(made).tags == {"team": "b", "stage": "test"}
    client.delete_experiment_tag(made, "stage")
    refused(ABSENT, lambda: client.delete_experiment_tag(made, "stage"))
    client.rename_experiment(made, "fans")
    assert client.get_experiment(made).name == "fans"
    other = client.create_experiment("valves", artifact_location="s3://bucket/valves")
    assert client.get_experiment(other).artifact_location == "s3://bucket/valves"
    refused(EXISTS, lambda: client.rename_experiment(other, "fans"))
    client.delete_experiment(other)
    assert client.get_experiment(other).lifecycle_stage == "deleted"
    refused(INVALID, lambda: client.create_run(other), "must be in the 'active' state")
    refused("INVALID_STATE", lambda: client.rename_experiment(other, "x"))
    refused(EXISTS, lambda: client.create_experiment("valves"), "deleted state")
    names = lambda **how: [one.name for one in client.search_experiments(**how)]
    assert names() == ["fans", "Default"], names()
    assert names(view_type=ViewType.DELETED_ONLY) == ["valves"]
    assert set(names(view_type=ViewType.ALL)) == {"fans", "Default", "valves"}
    client.restore_experiment(other)
    assert client.get_experiment(other).lifecycle_stage == "active"
    assert names(filter_string="name LIKE 'f%'") == ["fans"]
    assert names(filter_string="name ILIKE 'DEF%' AND tags.team = 'b'") == []
    assert names(filter_string="tags.team = 'b'") == ["fans"]
    assert names(filter_string=f"creation_time >= {experiment.creation_time}") == ["valves", "fans"]
    assert names(order_by=["name ASC"]) == ["Default", "fans", "valves"]
    assert names(order_by=["name DESC"]) == ["valves", "fans", "Default"]
    first = client.search_experiments(max_results=2)
    assert len(first) == 2 and first.token
    assert len(client.search_experiments(max_results=2, page_token=first.token)) == 1
    refused(INVALID, lambda: client.search_experiments(filter_string="wrong.name = 'x'"))
    refused(INVALID, lambda: client.search_experiments(page_token="wrong"))
    return made


def runs(experiment):
    run = client.create_run(experiment, tags={"color": "red"}, run_name="first")
    info = run.info
    assert (info.run_name, info.status, info.lifecycle_stage) == ("first", "RUNNING", "active")
    assert info.artifact_uri.endswith(f"/{info.run_id}/artifacts") and info.start_time > 0
    id = info.run_id
    client.log_param(id, "rate", 0.1)
    client.log_param(id, "rate", 0.1)
    refused(INVALID, lambda: client.log_param(id, "rate", 0.2), "Changing param values is not allowed")
    for step, value in enumerate([1.0, 0.5, math.nan, math.inf, -math.inf, 0.25]):
        client.log_metric(id, "loss", value, timestamp=1000 + step, step=step)
    client.log_metric(id, "loss", 9.0, timestamp=1, step=1)
    history = client.get_metric_history(id, "loss")
    assert [one.step for one in history] == [1, 0, 1, 2, 3, 4, 5]
    assert math.isnan(history[3].value) and history[4].value == math.inf and history[5].value == -math.inf
    client.log_metric(id, "nothing", math.nan)
    client.log_metric(id, "a/b c", -1e300)
    data = client.get_run(id).data
    assert data.metrics["loss"] == 0.25 and math.isnan(data.metrics["nothing"]) and data.metrics["a/b c"] == -1e300
    assert data.params == {"rate": "0.1"} and data.tags["color"] == "red"
    assert client.get_metric_history(id, "none") == []
    for key in ["../up", "a//b", "a;b", ""]:
        refused(INVALID, lambda: client.log_metric(id, key, 1.0))
    client.set_tag(id, "color", "blue")
    client.set_tag(id, "gone", "x")
    client.delete_tag(id, "gone")
    refused(ABSENT, lambda: client.delete_tag(id, "gone"), "No tag with name: gone")
    client.set_tag(id, "mlflow.runName", "renamed")
    assert client.get_run(id).info.run_name == "renamed"
    client.update_run(id, status="FAILED", name="again")
    assert (client.get_run(id).info.run_name, client.get_run(id).info.status) == ("again", "FAILED")
    assert client.get_run(id).data.tags["mlflow.runName"] == "again"
    metrics = [Metric("batch", float(n), 2000 + n, n) for n in range(900)]
    client.log_batch(id, metrics=metrics, params=[Param("p1", "v1"), Param("p2", "v2")], tags=[RunTag("t", "u")])
    assert client.get_run(id).data.metrics["batch"] == 899.0
    assert len(client.get_metric_history(id, "batch")) == 900
    batch = lambda **what: lambda: client.log_batch(id, **what)
    refused(INVALID, batch(params=[Param("new", "1"), Param("p1", "other")]))
    assert "new" not in client.get_run(id).data.params, "a batch is kept whole or not at all"
    refused(INVALID, batch(params=[Param("q", "1"), Param("q", "2")]), "Duplicate parameter keys")
    batch(metrics=[Metric("many", 1.0, 1, n) for n in range(2500)])()
    assert len(client.get_metric_history(id, "many")) == 2500, "the client sends them a thousand at a time"
    refused(INVALID, lambda: client.set_tag(id, "k" * 251, "x"))
    client.set_terminated(id, "FINISHED", end_time=5000)
    assert (client.get_run(id).info.status, client.get_run(id).info.end_time) == ("FINISHED", 5000)
    client.delete_run(id)
    assert client.get_run(id).info.lifecycle_stage == "deleted"
    refused(INVALID, lambda: client.log_metric(id, "x", 1.0), "must be in the 'active' state")
    client.restore_run(id)
    assert client.get_run(id).info.lifecycle_stage == "active"
    refused(ABSENT, lambda: client.get_run("0" * 32), "not found")
    refused(ABSENT, lambda: client.log_metric("0" * 32, "x", 1.0))
    assert client.create_run(experiment).info.run_name, "a run nobody named has a name"
    return id


def searching():
    experiment = client.create_experiment("search")
    ids = []
    for n in range(5):
        run = client.create_run(experiment, start_time=1000 + n, run_name=f"run {n}", tags={"even": str(n % 2 == 0)})
        client.log_metric(run.info.run_id, "acc", n / 10)
        client.log_param(run.info.run_id, "depth", str(n))
        ids.append(run.info.run_id)
    client.log_metric(ids[4], "acc", math.nan)
    client.set_terminated(ids[0], "KILLED")

    def found(text="", order=None, **how):
        return [ids.index(run.info.run_id) for run in client.search_runs([experiment], text, order_by=order, **how)]

    assert found() == [4, 3, 2, 1, 0]
    assert found("metrics.acc > 0.05 and metrics.acc <= 0.2") == [2, 1]
    assert found("metrics.`acc` != 0.3") in ([4, 2, 1, 0], [2, 1, 0])
    assert found("params.depth = '3'") == [3] and found('params."depth" = "3"') == [3]
    assert found("tags.even = 'True' AND params.depth != '4'") == [2, 0]
    assert found("tags.mlflow.runName LIKE 'run%'") == [4, 3, 2, 1, 0]
    assert found("tags.`mlflow.runName` ILIKE 'RUN 1'") == [1]
    assert found("tags.none IS NULL") == [4, 3, 2, 1, 0] and found("params.depth IS NOT NULL") == [4, 3, 2, 1, 0]
    assert found("attributes.status = 'KILLED'") == [0] and found("status != 'KILLED'") == [4, 3, 2, 1]
    assert found("attributes.start_time >= 1003") == [4, 3] and found("attributes.run_name = 'run 2'") == [2]
    assert found(f"attributes.run_id IN ('{ids[1]}', '{ids[3]}')") == [3, 1]
    assert found(f"attributes.run_id NOT IN ('{ids[1]}')") == [4, 3, 2, 0]
    assert found(order=["metrics.acc ASC"]) == [0, 1, 2, 3, 4], "what is no number comes last"
    assert found(order=["metrics.acc DESC"]) == [3, 2, 1, 0, 4]
    assert found(order=["tags.even ASC", "params.depth DESC"]) == [3, 1, 4, 2, 0]
    assert found(order=["attributes.start_time ASC"]) == [0, 1, 2, 3, 4] and found(order=["start_time"]) == [0, 1, 2, 3, 4]
    page = client.search_runs([experiment], max_results=2)
    assert [ids.index(run.info.run_id) for run in page] == [4, 3] and page.token
    page = client.search_runs([experiment], max_results=2, page_token=page.token)
    page = client.search_runs([experiment], max_results=2, page_token=page.token)
    assert [ids.index(run.info.run_id) for run in page] == [0] and not page.token
    client.delete_run(ids[1])
    assert found(run_view_type=ViewType.DELETED_ONLY) == [1] and found() == [4, 3, 2, 0]
    assert len(found(run_view_type=ViewType.ALL)) == 5
    for wrong in ["metrics.acc > 'x'", "params.depth = 3", "foo.bar = 'x'", "metrics.acc >", "a = 'b' OR c = 'd'", "'", "(("]:
        refused(INVALID, lambda: client.search_runs([experiment], wrong))
    refused(INVALID, lambda: client.search_runs([experiment], order_by=["metrics.acc sideways"]))
    refused(INVALID, lambda: client.search_runs([experiment], max_results=50001))
    frame = mlflow.search_runs([experiment], filter_string="metrics.acc < 0.25", output_format="pandas")
    assert sorted(frame["metrics.acc"]) == [0.0, 0.2] and "params.depth" in frame and "tags.even" in frame
    assert mlflow.search_runs(experiment_names=["search"], output_format="list")


def datasets():
    mlflow.set_experiment("datasets")
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
    dataset = mlflow.data.from_pandas(frame, source="https://example.org/rows.csv", name="rows", targets="y")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training")
        mlflow.log_input(dataset, context="training")
        mlflow.log_metric("acc", 0.5, dataset=dataset)
    used = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert len(used) == 1 and used[0].dataset.name == "rows" and used[0].dataset.digest == dataset.digest
    assert used[0].tags[0].value == "training"
    search = lambda text: mlflow.search_runs(experiment_names=["datasets"], filter_string=text, output_format="list")
    assert len(search("dataset.name = 'rows'")) == 1 and search("dataset.name = 'other'") == []
    assert len(search("datasets.context = 'training' AND metrics.acc = 0.5")) == 1


def fluent():
    mlflow.set_experiment("fluent")
    with mlflow.start_run(run_name="parent", description="text") as parent:
        mlflow.log_params({"a": 1, "b": [1, 2]})
        mlflow.log_metrics({"m": 1.5, "n": 2}, step=3)
        mlflow.set_tags({"k": "v"})
        mlflow.log_text("words", "notes/words.txt")
        mlflow.log_dict({"x": 1}, "notes/x.json")
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("m", 2.5)
    got = mlflow.get_run(child.info.run_id)
    assert got.data.tags["mlflow.parentRunId"] == parent.info.run_id and got.info.status == "FINISHED"
    assert mlflow.get_run(parent.info.run_id).data.params == {"a": "1", "b": "[1, 2]"}
    assert mlflow.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id
    try:
        with mlflow.start_run() as failing:
            raise ValueError("on purpose")
    except ValueError:
        pass
    assert mlflow.get_run(failing.info.run_id).info.status == "FAILED"
    with mlflow.start_run(run_id=parent.info.run_id):
        mlflow.log_metric("later", 1)
    assert mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/notes/words.txt") == "words"
    assert mlflow.artifacts.load_dict(f"runs:/{parent.info.run_id}/notes/x.json") == {"x": 1}
    with mlflow.start_run() as run:
        futures = [mlflow.log_metric("async", n, step=n, synchronous=False) for n in range(50)]
        [future.wait() for future in futures]
        threads = [threading.Thread(target=lambda n=n: client.log_metric(run.info.run_id, f"t{n}", n)) for n in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert len(client.get_metric_history(run.info.run_id, "async")) == 50
    assert sum(key.startswith("t") for key in client.get_run(run.info.run_id).data.metrics) == 8
    assert mlflow.last_active_run().info.run_id == run.info.run_id


def artifacts(run):
    os.makedirs("files/deep/er", exist_ok=True)
    for name, text in [("top.txt", "top"), ("deep/a b.txt", "spaced"), ("deep/er/ü.txt", "umlaut"), ("empty", "")]:
        with open(f"files/{name}", "w") as file:
            file.write(text)
    client.log_artifacts(run, "files", "all")
    client.log_artifact(run, "files/top.txt")
    listed = lambda path=None: {(one.path, one.is_dir, one.file_size) for one in client.list_artifacts(run, path)}
    assert listed() == {("all", True, None), ("top.txt", False, 3)}, listed()
    assert listed("all") == {("all/deep", True, None), ("all/empty", False, 0), ("all/top.txt", False, 3)}, listed("all")
    assert listed("all/deep") == {("all/deep/a b.txt", False, 6), ("all/deep/er", True, None)}
    assert listed("top.txt") == set() and listed("none") == set()
    folder = client.download_artifacts(run, "all", "got") if os.makedirs("got", exist_ok=True) is None else None
    with open(os.path.join(folder, "deep/er/ü.txt")) as file:
        assert file.read() == "umlaut"
    assert os.path.getsize(os.path.join(folder, "empty")) == 0
    with open("files/top.txt", "w") as file:
        file.write("another")
    client.log_artifact(run, "files/top.txt")
    with open(client.download_artifacts(run, "top.txt", "got")) as file:
        assert file.read() == "another"
    big = os.urandom(1 << 20) * 20
    with open("big.bin", "wb") as file:
        file.write(big)
    client.log_artifact(run, "big.bin", "large")
    with open(client.download_artifacts(run, "large/big.bin", "got"), "rb") as file:
        assert file.read() == big
    try:
        client.download_artifacts(run, "none.txt", "got")
        raise AssertionError("nothing is there")
    except Exception as error:
        assert "none.txt" in str(error), error
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(client.get_run(run).info.artifact_uri)
    repository.delete_artifacts("all/deep")
    assert listed("all") == {("all/empty", False, 0), ("all/top.txt", False, 3)}
    # A client that insists on parts is told to send the file whole.
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1"
    client.log_artifact(run, "big.bin", "insisted")
    for name in ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"]:
        del os.environ[name]
    assert listed("insisted") == {("insisted/big.bin", False, len(big))}
    import requests

    root = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow-artifacts/artifacts"
    for path in ["..%2f..%2fetc%2fpasswd", "a%2f..%2f..%2fb", "%2e%2e/x", "a%5c..%5cb", "%00"]:
        session = requests.Session()
        request = requests.Request("PUT", root).prepare()
        request.url = f"{root}/{path}"
        request.body = b"x"
        assert session.send(request).status_code in (400, 404), path


def logged_models(experiment):
    run = client.create_run(experiment)
    model = client.create_logged_model(
        experiment, name="net", source_run_id=run.info.run_id, tags={"a": "b"}, params={"p": "1"}, model_type="cnn"
    )
    id = model.model_id
    assert id.startswith("m-") and model.status == LoggedModelStatus.PENDING and model.params == {"p": "1"}
    model = client.finalize_logged_model(id, LoggedModelStatus.READY)
    assert model.status == LoggedModelStatus.READY
    client.set_logged_model_tags(id, {"c": "d"})
    client.delete_logged_model_tag(id, "a")
    client.log_model_params(id, {"q": "2"})
    client.log_metric(run.info.run_id, "acc", 0.8, model_id=id, dataset_name="rows", dataset_digest="1")
    client.log_metric(run.info.run_id, "acc", 0.9, step=1, model_id=id, dataset_name="rows", dataset_digest="1")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(id, 3)])
    got = client.get_logged_model(id)
    assert got.tags == {"c": "d"} and got.params == {"p": "1", "q": "2"} and got.model_type == "cnn"
    assert [(one.key, one.value, one.dataset_name) for one in got.metrics] == [
        ("acc", 0.8, "rows"),
        ("acc", 0.9, "rows"),
    ]
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert [(one.model_id, one.step) for one in outputs] == [(id, 3)]
    other = client.create_logged_model(experiment, name="other")
    client.log_metric(run.info.run_id, "acc", 0.5, model_id=other.model_id)
    search = lambda text=None, **how: [
        one.name for one in client.search_logged_models([experiment], filter_string=text, **how)
    ]
    assert sorted(search()) == ["net", "other"]
    assert search("metrics.acc > 0.85") == ["net"] and search("params.q = '2' AND tags.c = 'd'") == ["net"]
    assert search("name = 'other'") == ["other"] and search("model_type = 'cnn'") == ["net"]
    assert search("status = 'READY'") == ["net"] and search(f"source_run_id = '{run.info.run_id}'") == ["net"]
    assert search(order_by=[{"field_name": "metrics.acc", "ascending": True}]) == ["other", "net"]
    assert search("metrics.acc > 0", datasets=[{"dataset_name": "rows"}]) == ["net"]
    page = client.search_logged_models([experiment], max_results=1)
    assert len(page) == 1 and page.token
    assert len(client.search_logged_models([experiment], max_results=1, page_token=page.token)) == 1
    client.delete_logged_model(other.model_id)
    refused(ABSENT, lambda: client.get_logged_model(other.model_id))
    refused(ABSENT, lambda: client.get_logged_model("m-none"), "not found")
    refused(ABSENT, lambda: client.delete_logged_model_tag(id, "none"))
    with open("weights.bin", "wb") as file:
        file.write(b"123")
    client.log_model_artifact(id, "weights.bin")
    assert [(one.path, one.file_size) for one in client.list_logged_model_artifacts(id)] == [("weights.bin", 3)]
    return id, run.info.run_id


def registry(logged, run):
    model = client.create_registered_model("pump model", tags={"a": "b"}, description="words")
    assert (model.name, model.tags, model.description, model.latest_versions) == ("pump model", {"a": "b"}, "words", [])
    refused(EXISTS, lambda: client.create_registered_model("pump model"), "already exists")
    refused(INVALID, lambda: client.create_registered_model(""))
    refused(INVALID, lambda: client.create_registered_model("a/b"))
    refused(ABSENT, lambda: client.get_registered_model("none"), "Registered Model with name=none not found")
    client.update_registered_model("pump model", "other words")
    assert client.get_registered_model("pump model").description == "other words"
    client.set_registered_model_tag("pump model", "c", "d")
    client.delete_registered_model_tag("pump model", "a")
    assert client.get_registered_model("pump model").tags == {"c": "d"}

    one = client.create_model_version("pump model", f"runs:/{run}/model", run, tags={"x": "y"}, description="first")
    assert (one.version, one.status, one.run_id, one.tags, one.current_stage) == ("1", "READY", run, {"x": "y"}, "None")
    two = client.create_model_version("pump model", f"models:/{logged}", model_id=logged)
    assert two.version == "2" and two.run_id == run
    assert client.get_model_version_download_uri("pump model", "2") == client.get_logged_model(logged).artifact_location
    assert client.get_model_version_download_uri("pump model", "1") == f"runs:/{run}/model"
    root = client.get_run(run).info.artifact_uri
    three = client.create_model_version("pump model", f"{root}/model", run)
    assert three.version == "3" and '"version": 2' in client.get_logged_model(logged).tags["mlflow.modelVersions"].replace(
        '":2', '": 2'
    )
    refused(INVALID, lambda: client.create_model_version("pump model", f"{root}/../../etc", run))
    refused(INVALID, lambda: client.create_model_version("pump model", "/etc/passwd", run), "Invalid model version source")
    refused(ABSENT, lambda: client.create_model_version("none", f"runs:/{run}/model", run))
    refused(ABSENT, lambda: client.get_model_version("pump model", "9"), "not found")
    refused(INVALID, lambda: client.get_model_version("pump model", "one"))

    client.set_registered_model_alias("pump model", "champion", "2")
    client.set_registered_model_alias("pump model", "challenger", "3")
    assert client.get_model_version_by_alias("pump model", "champion").version == "2"
    assert client.get_model_version("pump model", "2").aliases == ["champion"]
    assert client.get_registered_model("pump model").aliases == {"champion": "2", "challenger": "3"}
    client.set_registered_model_alias("pump model", "champion", "1")
    assert client.get_model_version_by_alias("pump model", "champion").version == "1"
    client.delete_registered_model_alias("pump model", "challenger")
    refused(INVALID, lambda: client.get_model_version_by_alias("pump model", "challenger"), "alias challenger not found")
    for wrong in ["latest", "v1", "a b"]:
        refused(INVALID, lambda: client.set_registered_model_alias("pump model", wrong, "1"))
    refused(ABSENT, lambda: client.set_registered_model_alias("pump model", "x", "9"))

    client.update_model_version("pump model", "1", "changed")
    client.set_model_version_tag("pump model", "1", "m", "n")
    client.delete_model_version_tag("pump model", "1", "x")
    one = client.get_model_version("pump model", "1")
    assert (one.description, one.tags) == ("changed", {"m": "n"})
    assert client.transition_model_version_stage("pump model", "1", "production").current_stage == "Production"
    client.transition_model_version_stage("pump model", "2", "Production", archive_existing_versions=True)
    assert client.get_model_version("pump model", "1").current_stage == "Archived"
    refused(INVALID, lambda: client.transition_model_version_stage("pump model", "1", "Wrong"))
    latest = {one.current_stage: one.version for one in client.get_latest_versions("pump model")}
    assert latest == {"None": "3", "Production": "2", "Archived": "1"}, latest
    assert [one.version for one in client.get_latest_versions("pump model", ["Production"])] == ["2"]

    versions = lambda text=None, **how: [one.version for one in client.search_model_versions(text, **how)]
    assert sorted(versions("name = 'pump model'")) == ["1", "2", "3"]
    assert versions("name='pump model'", order_by=["version_number DESC"]) == ["3", "2", "1"]
    assert versions("name = 'pump model' AND version_number > 1", order_by=["version_number ASC"]) == ["2", "3"]
    assert versions("tags.m = 'n'") == ["1"] and sorted(versions(f"run_id = '{run}'")) == ["1", "2", "3"]
    assert versions("name = 'none'") == []
    page = client.search_model_versions("name = 'pump model'", max_results=2)
    assert len(page) == 2 and len(client.search_model_versions("name = 'pump model'", max_results=2, page_token=page.token)) == 1
    client.create_registered_model("another")
    models = lambda text=None, **how: [one.name for one in client.search_registered_models(text, **how)]
    assert models() == ["another", "pump model"] and models("name LIKE 'pump%'") == ["pump model"]
    assert models("name ILIKE 'PUMP%'") == ["pump model"] and models("tags.c = 'd'") == ["pump model"]
    assert models(order_by=["name DESC"]) == ["pump model", "another"]
    page = client.search_registered_models(max_results=1)
    assert len(page) == 1 and len(client.search_registered_models(max_results=1, page_token=page.token)) == 1

    client.rename_registered_model("pump model", "fan model")
    assert client.get_registered_model("fan model").tags == {"c": "d"}
    refused(ABSENT, lambda: client.get_registered_model("pump model"))
    refused(EXISTS, lambda: client.rename_registered_model("fan model", "another"))
    assert client.get_model_version_by_alias("fan model", "champion").name == "fan model"
    client.delete_model_version("fan model", "1")
    refused(ABSENT, lambda: client.get_model_version("fan model", "1"))
    refused(INVALID, lambda: client.get_model_version_by_alias("fan model", "champion"))
    assert client.create_model_version("fan model", f"runs:/{run}/model", run).version == "4", "numbers are not given twice"
    client.copy_model_version("models:/fan model/4", "a copy")
    assert client.get_model_version("a copy", "1").source == "models:/fan model/4"
    client.delete_registered_model("fan model")
    refused(ABSENT, lambda: client.get_registered_model("fan model"))
    assert models() == ["a copy", "another"]


def traces():
    mlflow.set_experiment("traces")

    @mlflow.trace(name="double", attributes={"kind": "test"})
    def double(x):
        with mlflow.start_span(name="inner") as span:
            span.set_inputs({"x": x})
            return 2 * x

    with mlflow.start_run() as run:
        assert double(21) == 42
    mlflow.flush_trace_async_logging()
    found = mlflow.search_traces(return_type="list")
    assert len(found) == 1 and [span.name for span in found[0].data.spans] == ["double", "inner"], found
    id = found[0].info.trace_id
    assert mlflow.get_trace(id).data.spans[0].outputs == 42
    client.set_trace_tag(id, "k", "v")
    assert mlflow.get_trace(id).info.tags["k"] == "v"
    search = lambda text: len(mlflow.search_traces(filter_string=text, return_type="list"))
    assert search("tags.k = 'v'") == 1 and search("tags.k = 'w'") == 0
    assert search("trace.status = 'OK'") == 1 and search("attributes.timestamp_ms > 0") == 1
    assert search("trace.name = 'double'") == 1 and search(f"attributes.run_id = '{run.info.run_id}'") == 1
    client.delete_trace_tag(id, "k")
    refused(ABSENT, lambda: client.delete_trace_tag(id, "k"))
    feedback = mlflow.log_feedback(trace_id=id, name="good", value=True, rationale="it is")
    assert mlflow.get_trace(id).info.assessments[0].feedback.value is True
    mlflow.update_assessment(id, feedback.assessment_id, mlflow.entities.Feedback(name="good", value=False))
    assert mlflow.get_assessment(id, feedback.assessment_id).feedback.value is False
    mlflow.delete_assessment(id, feedback.assessment_id)
    assert mlflow.get_trace(id).info.assessments == []
    assert client.delete_traces(experiment_id=found[0].info.experiment_id, trace_ids=[id]) == 1
    assert mlflow.search_traces(return_type="list") == []
    refused(ABSENT, lambda: client.get_trace("tr-none"))


def beyond():
    # What is not kept here is refused openly and at once.
    import requests

    root = os.environ["MLFLOW_TRACKING_URI"]
    assert requests.get(f"{root}/health").status_code == 200
    assert requests.get(f"{root}/version").status_code == 200
    for path in ["/api/2.0/mlflow/unknown", "/api/3.0/mlflow/datasets/search", "/ajax-api/2.0/mlflow/x"]:
        answer = requests.get(root + path)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND"), answer.text
    answer = requests.post(f"{root}/api/2.0/mlflow/runs/create", data="{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error_code"] == "BAD_REQUEST", answer.text
    answer = requests.post(f"{root}/api/2.0/mlflow/runs/log-metric", json={"run_id": "x", "key": "a"})
    assert answer.status_code == 400 and answer.json()["error_code"] == INVALID, answer.text


def main():
    started = time.time()
    experiment = experiments()
    run = runs(experiment)
    searching()
    datasets()
    fluent()
    artifacts(run)
    registry(*logged_models(experiment))
    traces()
    beyond()
    print(f"{time.time() - started:.1f} s, all of it")


main()
