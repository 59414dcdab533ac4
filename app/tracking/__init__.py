"""What the gateway asks of MLflow, over plain REST: it does not import mlflow."""
