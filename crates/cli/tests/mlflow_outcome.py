# What Edgeward made of the champion stands on its version.
import time

import mlflow

client = mlflow.MlflowClient()
for _ in range(300):
    tags = client.get_model_version_by_alias("pump states", "champion").tags
    if "edgeward.outcome.pumps" in tags:
        break
    time.sleep(0.1)
assert tags["edgeward.run.pumps"].startswith("run-"), tags
print(tags["edgeward.outcome.pumps"])
print("all of it")
