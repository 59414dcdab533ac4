"""The models that every server serves, the same weights saved as each server reads them, and the rows that are asked.

rf       RandomForest of 100 trees on iris: slow for one row, much faster for many at once
logreg   LogisticRegression on iris: next to no work, so that it measures the server
mlp      a network with five hidden layers of 1024, as PyTorch: 17 MB of weights to be read for each batch
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 64
WIDTH, CLASSES = 64, 10  # of the network's inputs and outputs
HIDDEN = (1024,) * 5


@dataclass(frozen=True)
class Sample:
    """scikit-learn's fitted estimator or PyTorch's module; `rows` are what is asked.

    `wants` are the right answers: of the network rows of probabilities, of the others classes.
    """

    name: str
    model: Any
    columns: tuple[str, ...]
    classes: tuple[int, ...]
    rows: list[list[float]]
    wants: list[Any]
    probabilities: list[list[float]]

    def save(self, folder: Path) -> None:
        """As peers load it: `model.joblib`, or `model.pt` for the network."""
        if self.name == "mlp":
            import torch

            torch.save(self.model, folder / "model.pt")
        else:
            import joblib

            joblib.dump(self.model, folder / "model.joblib")

    def save_for_mlflow(self, folder: Path) -> None:
        """As `mlflow models serve` loads it, with a signature."""
        import mlflow
        from mlflow.models import infer_signature

        if self.name == "mlp":
            rows = np.array(self.rows, dtype=np.float32)
            signature = infer_signature(rows, np.array(self.wants, dtype=np.float32))
            mlflow.pytorch.save_model(
                self.model, folder, signature=signature, pip_requirements=["torch"], serialization_format="pickle"
            )
        else:
            signature = infer_signature(np.array(self.rows), np.array(self.wants))
            mlflow.sklearn.save_model(
                self.model,
                folder,
                signature=signature,
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )


def forest() -> Sample:
    from sklearn.ensemble import RandomForestClassifier

    return _iris("rf", lambda: RandomForestClassifier(n_estimators=100, random_state=0))


def regression() -> Sample:
    from sklearn.linear_model import LogisticRegression

    return _iris("logreg", lambda: LogisticRegression(max_iter=500))


def _iris(name: str, untrained: Callable[[], Any]) -> Sample:
    from sklearn.datasets import load_iris

    table, labels = load_iris(return_X_y=True, as_frame=True)
    table.columns = [column.removesuffix(" (cm)").replace(" ", "_") for column in table.columns]
    model = untrained().fit(table.to_numpy(), labels.to_numpy())
    rows = table.to_numpy()[np.random.default_rng(0).permutation(len(table))[:ROWS]]
    answers = model.predict(rows).tolist(), model.predict_proba(rows).tolist()
    return Sample(name, model, tuple(table.columns), (0, 1, 2), rows.tolist(), *answers)


def network() -> Sample:
    """Outputs are probabilities, so that a server that answers with classes' probabilities answers the same."""
    import torch

    torch.manual_seed(0)
    sizes = (WIDTH, *HIDDEN)
    layers: list[Any] = []
    for before, after in pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], CLASSES), torch.nn.Softmax(dim=1)).eval()
    rows = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32).round(3)
    with torch.inference_mode():
        wants = model(torch.from_numpy(rows)).numpy().tolist()
    columns = tuple(f"x{number}" for number in range(WIDTH))
    return Sample("mlp", model, columns, tuple(range(CLASSES)), rows.tolist(), wants, wants)


SAMPLES: dict[str, Callable[[], Sample]] = {"rf": forest, "logreg": regression, "mlp": network}
