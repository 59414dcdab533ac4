"""Fitting: the training loop of every PyTorch family, and the checkpoint that it goes on from exactly."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model

from inference_server.families.weights import FILE_NAME, save_tensors, save_weights
from trainer.families.base import Epoch, TrainingFailed

OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"

_WARM_UP = 0.1  # share of all steps in which the learning rate rises
_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The hyperparameters that every PyTorch family has, and the device, `cpu` or `cuda`."""

    epochs: int
    batch: int
    rate: float
    test_fraction: float
    seed: int
    device: str

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any], device: str) -> Settings:
        return cls(
            int(hyperparameters["numEpoch"]),
            int(hyperparameters["numBatch"]),
            float(hyperparameters["learningRate"]),
            float(hyperparameters["testFraction"]),
            int(hyperparameters["seed"]),
            device,
        )

    def begin(self) -> None:
        """Let the initial weights follow from the seed. Raises `TrainingFailed` if the device is not there."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise TrainingFailed("The job asks for a GPU (useGpu), and PyTorch finds none here.")
        seed_epoch(self.seed, 0)


class Fitting:
    """One network, fitted to the rows 0 to `rows` - 1 by AdamW; the learning rate rises, then falls, both linearly.

    `loss` gives the mean loss of a batch of row numbers, `measure` the metrics on the held-out rows. Order, dropout and
    augmentation of every epoch come from a seed of its own, so the number of epochs done is all the state of chance.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        rows: int,
        loss: Callable[[torch.Tensor], torch.Tensor],
        measure: Callable[[], Mapping[str, float]],
        settings: Settings,
    ) -> None:
        self._network = network
        self._rows = rows
        self._loss = loss
        self._measure = measure
        self._settings = settings
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate)
        self._done = 0

    def epochs(self) -> Iterator[Epoch]:
        """One pass over the rows a step. Raises `TrainingFailed` if the numbers are not finite any more."""
        while self._done < self._settings.epochs:
            seed_epoch(self._settings.seed, self._done + 1)
            try:
                metrics = {"train_loss": self._pass(), **self._measure()}
            except ArithmeticError as error:
                raise TrainingFailed.diverged(self._done + 1) from error
            except torch.OutOfMemoryError as error:
                raise MemoryError(str(error)) from error
            self._done += 1
            yield Epoch(self._done, self._settings.epochs, metrics)

    def checkpoint(self, folder: Path) -> None:
        save_weights(self._network, folder / FILE_NAME)
        state = self._optimizer.state_dict()["state"]
        tensors = {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}
        save_tensors(tensors, folder / OPTIMIZER)
        (folder / PROGRESS).write_text(json.dumps({"epochs": self._done}), encoding="utf-8")

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint of an equal network."""
        load_model(self._network, str(folder / FILE_NAME), strict=True)
        state: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
        for key, value in load_file(str(folder / OPTIMIZER)).items():
            index, name = key.split(".", 1)
            state[int(index)][name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": dict(state), "param_groups": groups})
        self._done = int(json.loads((folder / PROGRESS).read_text(encoding="utf-8"))["epochs"])

    def _pass(self) -> float:
        batches = torch.randperm(self._rows).split(self._settings.batch)
        self._network.train()
        total = 0.0
        for number, batch in enumerate(batches):
            self._set_rate((self._done * len(batches) + number) / (self._settings.epochs * len(batches)))
            total += self._step(batch) * len(batch)
        self._network.eval()
        return total / self._rows

    def _set_rate(self, progress: float) -> None:
        share = min((progress + 0.01) / _WARM_UP, (1 - progress) / (1 - _WARM_UP), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.rate * share

    def _step(self, batch: torch.Tensor) -> float:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self._settings.device == "cuda"):
            loss = self._loss(batch)
        value = float(loss.item())
        if not math.isfinite(value):
            raise ArithmeticError(f"The loss became {value}.")
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), _GRADIENT_NORM)
        self._optimizer.step()
        return value


class Fitted:
    """The part of `trainer.families.base.Family` that every PyTorch family has, once it has prepared `_fitting`."""

    _fitting: Fitting

    def resume(self, checkpoint: Path) -> None:
        self._fitting.resume(checkpoint)

    def checkpoint(self, folder: Path) -> None:
        self._fitting.checkpoint(folder)

    def epochs(self) -> Iterator[Epoch]:
        return self._fitting.epochs()


def seed_epoch(seed: int, epoch: int) -> None:
    """Let all that torch draws from now on follow from the job's seed and the epoch; 0 is before the first."""
    torch.manual_seed((seed << 24) + epoch)
