"""The tabular families: a multilayer perceptron of scikit-learn on the columns of a table.

The model is one pipeline: a ColumnTransformer (numbers: median for missing, standardised; categories: the most frequent
for missing, one-hot) and the perceptron. Its file and its input columns are those of
`inference_server/families/tabular.py`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference_server.card import ModelCard
from inference_server.families.rows import features_of
from inference_server.families.skops_reader import read_skops
from inference_server.families.tabular import MODEL_FILE
from trainer.datasets import choose_target, read_table, split_indices
from trainer.families import labels, perceptron
from trainer.families.base import Epoch, TrainingFailed
from trainer.families.columns import choose_features, feature_frame
from trainer.families.initial_table import read_initial

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

STATE_FILE = "state.skops"
EXAMPLE_ROWS = 3
_FITTED_ROWS = 200_000
_CHUNK_ROWS = 65_536
_COMPARED_ROWS = 2000


class _Tabular(ABC):
    """What both families share: everything but the kind of target."""

    family: ClassVar[str]

    def __init__(self, hyperparameters: Mapping[str, Any], device: str) -> None:
        self._of = int(hyperparameters["numEpoch"])
        self._rate = float(hyperparameters["learningRate"])
        self._batch = int(hyperparameters["numBatch"])
        self._units = int(hyperparameters["hiddenUnits"])
        self._target = str(hyperparameters["targetColumn"])
        self._test_fraction = float(hyperparameters["testFraction"])
        self._seed = int(hyperparameters["seed"])
        self._done = 0

    def prepare(self, dataset: Path, initial: Path | None) -> None:
        estimator = self._read(dataset, initial)
        self._train, self._test = split_indices(len(self._frame), self._test_fraction, self._seed, self._strata())
        self._adopt(estimator or self._untrained())
        sizes = len(self._features), len(self._train), self._target, len(self._test)
        log.info("Learning from %d columns and %d rows to predict %r; %d rows are held out.", *sizes)

    def resume(self, checkpoint: Path) -> None:
        state = read_skops(checkpoint / STATE_FILE)
        self._done = state["epoch"]
        self._adopt(state["estimator"])

    def checkpoint(self, folder: Path) -> None:
        perceptron.dump({"epoch": self._done, "estimator": self._estimator}, folder / STATE_FILE)

    def epochs(self) -> Iterator[Epoch]:
        train, held_out = self._matrix(self._train), self._matrix(self._test)
        targets = self._targets()
        while self._done < self._of:
            self._fit(train, targets, self._done + 1)
            self._done += 1
            metrics = {"train_loss": float(self._network.loss_), **self._measure(held_out)}
            yield Epoch(self._done, self._of, metrics)

    def measure(self) -> Mapping[str, float]:
        rows = {"train_rows": float(len(self._train)), "test_rows": float(len(self._test))}
        return {**self._measure(self._matrix(self._test)), **rows}

    def save(self, folder: Path) -> ModelCard:
        optimizer = vars(self._network).pop("_optimizer")  # twice the weights' size, and of no use to a server
        perceptron.dump(self._estimator, folder / MODEL_FILE)
        self._network._optimizer = optimizer
        details = {"features": [asdict(feature) for feature in self._features]}
        return ModelCard(
            self.family, {"features": self._as_sent(self._test[:EXAMPLE_ROWS])}, self._target, self._classes(), details
        )

    def held_out(self) -> Sequence[Any]:
        rows = self._test[:: len(self._test) // _COMPARED_ROWS + 1]
        return [{"features": self._as_sent(rows)}]

    def signature(self) -> Any:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        types = {"number": "double", "boolean": "boolean", "category": "string"}
        inputs = [ColSpec(types[feature.kind], feature.name, required=False) for feature in self._features]
        return ModelSignature(Schema(inputs), Schema([ColSpec(labels.mlflow_type(self._labels))]))

    def _read(self, dataset: Path, initial: Path | None) -> Any | None:
        """Read labels and features, and the estimator to start from, if there is one."""
        table = read_table(dataset)
        self._target = choose_target(table, self._target)
        table, self._labels = self._read_labels(table)
        self._features = choose_features(table.drop(columns=self._target))
        estimator = None
        if initial:
            card, estimator = read_initial(initial, self.family, self._target, self._features, self._classes())
            self._features = features_of(card.details)  # in the model's order
        self._frame = feature_frame(table, self._features)
        return estimator

    def _fit(self, matrix: npt.NDArray[np.float32], targets: npt.NDArray[Any], epoch: int) -> None:
        """One pass in batches. The order follows from seed and epoch, so a resumed run learns as an unbroken one."""
        self._network.random_state = (self._seed + epoch) % 2**32
        self._network.batch_size = min(self._batch, len(matrix))
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # the loss tells
                self._pass(matrix, targets)
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            raise TrainingFailed.diverged(epoch) from error
        del self._network.loss_curve_[:-1]  # it grows with each epoch, and would be saved with the model

    def _adopt(self, estimator: Any) -> None:
        self._estimator = estimator
        self._network = self._network_of(estimator[-1])
        self._network.learning_rate_init = self._rate

    def _columns(self) -> Any:
        """Fitted to training rows, evenly spaced ones if there are many: fitting makes several copies of them."""
        rows = self._train[:: len(self._train) // _FITTED_ROWS + 1]
        return perceptron.columns(self._frame.iloc[rows], self._features)

    def _matrix(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """What the network reads for these rows; in chunks, so that the float64 step in between stays small."""
        columns = self._estimator[0]
        width = columns.transform(self._frame.iloc[rows[:1]]).shape[1]
        matrix = np.empty((len(rows), width), dtype=np.float32)
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            matrix[start : start + len(chunk)] = columns.transform(self._frame.iloc[chunk])
        return matrix

    def _as_sent(self, rows: npt.NDArray[np.intp]) -> list[list[Any]]:
        """These rows as a predict request has them."""
        chosen = self._frame.iloc[rows].itertuples(index=False, name=None)
        return [[_plain(value, f.kind) for value, f in zip(row, self._features, strict=True)] for row in chosen]

    @abstractmethod
    def _read_labels(self, table: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        """The rows whose target is known, and their targets."""

    @abstractmethod
    def _strata(self) -> npt.NDArray[Any] | None:
        """The labels to stratify the split by."""

    @abstractmethod
    def _classes(self) -> tuple[Any, ...] | None:
        """The classes in the order of the network's outputs."""

    @abstractmethod
    def _untrained(self) -> Any:
        """The pipeline before its first epoch."""

    @abstractmethod
    def _network_of(self, model: Any) -> Any:
        """The perceptron in the pipeline's last step."""

    @abstractmethod
    def _targets(self) -> npt.NDArray[Any]:
        """The training rows' targets as the network learns them."""

    @abstractmethod
    def _pass(self, matrix: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> None:
        """One pass of the network over the training rows."""

    @abstractmethod
    def _measure(self, matrix: npt.NDArray[np.float32]) -> dict[str, float]:
        """Metrics on the held-out rows, whose matrix this is; the most asked for first."""


class TabularRegression(_Tabular):
    """A number a row; mean squared error on the standardised target."""

    family = "tabular_regression"

    def _read_labels(self, table: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        return labels.quantities(table, self._target)

    def _strata(self) -> None:
        return None

    def _classes(self) -> None:
        return None

    def _untrained(self) -> Any:
        return perceptron.regressor(self._columns(), self._labels[self._train], self._units)

    def _network_of(self, model: Any) -> Any:
        return model.regressor_

    def _targets(self) -> npt.NDArray[Any]:
        scaler = self._estimator[-1].transformer_
        return scaler.transform(self._labels[self._train].reshape(-1, 1)).ravel().astype(np.float32)  # type: ignore[no-any-return]

    def _pass(self, matrix: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> None:
        self._network.partial_fit(matrix, targets)

    def _measure(self, matrix: npt.NDArray[np.float32]) -> dict[str, float]:
        from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

        truth, guess = self._labels[self._test], self._estimator[-1].predict(matrix)
        scores = {"r2": r2_score, "mae": mean_absolute_error, "mse": mean_squared_error}
        return {name: float(score(truth, guess)) for name, score in scores.items()}


class TabularClassification(_Tabular):
    """A class a row; cross entropy."""

    family = "tabular_classification"

    def _read_labels(self, table: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        return labels.classes(table, self._target)

    def _strata(self) -> npt.NDArray[Any]:
        return self._labels

    def _classes(self) -> tuple[Any, ...]:
        return tuple(np.unique(self._labels).tolist())

    def _untrained(self) -> Any:
        return perceptron.classifier(self._columns(), self._units)

    def _network_of(self, model: Any) -> Any:
        return model

    def _targets(self) -> npt.NDArray[Any]:
        return self._labels[self._train]

    def _pass(self, matrix: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> None:
        self._network.partial_fit(matrix, targets, classes=np.unique(self._labels))

    def _measure(self, matrix: npt.NDArray[np.float32]) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score, log_loss

        truth, probabilities = self._labels[self._test], self._network.predict_proba(matrix)
        guess = self._network.classes_[probabilities.argmax(axis=1)]
        return {
            "accuracy": float(accuracy_score(truth, guess)),
            "f1_macro": float(f1_score(truth, guess, average="macro", zero_division=0)),
            "log_loss": float(log_loss(truth, probabilities, labels=self._network.classes_)),
        }


def _plain(value: Any, kind: str) -> Any:
    if value != value:  # NaN stands for missing
        return None
    return {"number": float, "boolean": bool, "category": str}[kind](value)
