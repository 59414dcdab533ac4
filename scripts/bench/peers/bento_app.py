"""BentoML. Started by `bentoml serve bento_app:Bench`."""

from typing import Annotated

import bentoml
import numpy as np
import weights
from bentoml.validators import DType

batching = {"batchable": True, "batch_dim": 0, "max_batch_size": weights.BATCH} if weights.BATCH > 1 else {}


@bentoml.service(name="bench", workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Bench:
    def __init__(self):
        self.call = weights.load()

    @bentoml.api(**batching)
    def predict(self, rows: Annotated[np.ndarray, DType(weights.DTYPE)]) -> np.ndarray:
        return self.call(rows)
