"""Modelyard's Python SDK: train, deploy and call models through a gateway.

from modelyard import Client

with Client() as yard:
    job = yard.train(model_profile="tabular_regression", dataset_path="/data/houses.csv")
    status = yard.wait_for_job(job.task_id)  # raises TaskFailed, with the reason, if it does not succeed
    served = yard.deploy(model_profile="tabular_regression", mlflow_run_id=status.mlflow_run_id)
    yard.wait_for_deployment(served.task_id)
    print(yard.predict(served.task_id, features=[[8.3, 41.0]]))
"""

from modelyard.client import Client
from modelyard.errors import (
    Cause,
    Conflict,
    Invalid,
    ModelyardError,
    NotFound,
    NotReady,
    TimedOut,
    Unavailable,
)
from modelyard.outcomes import TaskFailed
from modelyard.records import (
    Condition,
    Deployment,
    DeploymentPhase,
    DeploymentStatus,
    Job,
    JobPhase,
    JobStatus,
    Kind,
    Prediction,
    Profile,
    Progress,
    Replicas,
    Termination,
)
from modelyard.requests import DeploymentRequest, TrainingRequest

__version__ = "0.1.0"

__all__ = [
    "Cause",
    "Client",
    "Condition",
    "Conflict",
    "Deployment",
    "DeploymentPhase",
    "DeploymentRequest",
    "DeploymentStatus",
    "Invalid",
    "Job",
    "JobPhase",
    "JobStatus",
    "Kind",
    "ModelyardError",
    "NotFound",
    "NotReady",
    "Prediction",
    "Profile",
    "Progress",
    "Replicas",
    "TaskFailed",
    "Termination",
    "TimedOut",
    "TrainingRequest",
    "Unavailable",
]
