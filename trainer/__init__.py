"""The trainer: one program that reads a letter, fetches data, fits a model, and logs and registers it in MLflow."""
