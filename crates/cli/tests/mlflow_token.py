# A control plane that asks for a token: none, a wrong one, a viewer's, and the operator's in both ways.
import os

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def refused(code, call):
    try:
        call()
    except MlflowException as error:
        assert error.error_code == code, (error.error_code, error.message)
        return error.message
    raise AssertionError(f"{code} was expected")


def use(token=None, user=None, password=None):
    for name, value in [("TOKEN", token), ("USERNAME", user), ("PASSWORD", password)]:
        os.environ.pop(f"MLFLOW_TRACKING_{name}", None)
        if value is not None:
            os.environ[f"MLFLOW_TRACKING_{name}"] = value
    return MlflowClient()


def main():
    message = refused("UNAUTHENTICATED", lambda: use().get_experiment("0"))
    assert "credential" in message, message
    refused("UNAUTHENTICATED", lambda: use(token="wrong").get_experiment("0"))
    viewer = use(token=os.environ["VIEWER"])
    assert viewer.get_experiment("0").name == "Default"
    assert viewer.search_runs(["0"]) == []
    message = refused("PERMISSION_DENIED", lambda: viewer.create_experiment("x"))
    assert "operator" in message, message
    operator = use(token=os.environ["TOKEN"])
    run = operator.create_run("0")
    operator.log_metric(run.info.run_id, "a", 1.0)
    with open("note.txt", "w") as file:
        file.write("kept")
    operator.log_artifact(run.info.run_id, "note.txt")
    assert [file.path for file in operator.list_artifacts(run.info.run_id)] == ["note.txt"]
    by_password = use(user="anyone", password=os.environ["TOKEN"])
    by_password.set_terminated(run.info.run_id)
    assert by_password.get_run(run.info.run_id).info.status == "FINISHED"
    print("all of it")


main()
