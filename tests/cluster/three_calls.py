"""The published three calls, with the published bodies: train, deploy, predict. Standard library only, so that a pod of
any Python image can make them: `python three_calls.py URL SUFFIX IMAGE` prints what came of it as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from typing import Any

PATIENCE_SECONDS = 150


def train_body(suffix: str, image: str) -> dict[str, Any]:
    return {
        "taskId": f"train-reg-{suffix}",
        "experimentName": "House Price Prediction",
        "modelProfile": "tabular_regression",
        "customModelName": "predictorHouseValue",
        "initialModelFilePath": "None",
        "datasetPath": "s3://datasets/house-prices.csv",
        "trainerImage": image,
        "useGpu": False,
        "hyperparameters": {"numEpoch": 100, "learningRate": 0.001, "numBatch": 32},
    }


def deploy_body(suffix: str, run_id: str) -> dict[str, Any]:
    return {
        "taskId": f"deploy-reg-{suffix}",
        "modelId": f"predictor-house-v{suffix}",
        "mlflowRunId": run_id,
        "modelProfile": "tabular_regression",
        "useGpu": False,
    }


PREDICT_BODY = {"userId": "user-1234", "data": {"features": [[5.1, 3.5, 1.4, 0.2, 4.9, 3.0, 1.4, 0.2]]}}


def ask(url: str, body: object = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def ended(url: str, *words: str) -> dict[str, Any]:
    """The status once it is one of `words`."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        status: dict[str, Any] = ask(url)
        if status["status"] in words:
            return status
        if time.monotonic() > end:
            raise SystemExit(f"{url} is still {json.dumps(status)}")
        time.sleep(0.3)


def three_calls(url: str, suffix: str, image: str) -> dict[str, Any]:
    began = time.monotonic()
    ask(f"{url}/api/v1/train/jobs", train_body(suffix, image))
    job = ended(f"{url}/train/jobs/train-reg-{suffix}/status", "Succeeded", "Failed", "Cancelled")
    if job["status"] != "Succeeded":
        return {"job": job}
    trained = time.monotonic()
    ask(f"{url}/api/v1/inference/deployments", deploy_body(suffix, job["mlflowRunId"]))
    deployment = ended(f"{url}/api/v1/inference/deployments/deploy-reg-{suffix}/status", "Ready", "Failed")
    ready = time.monotonic()
    answer = ask(f"{url}/api/v1/inference/deploy-reg-{suffix}/predict", PREDICT_BODY)
    seconds = {"train": round(trained - began, 1), "deploy": round(ready - trained, 1)}
    return {"job": job, "deployment": deployment, "answer": answer, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(three_calls(*sys.argv[1:4])))
