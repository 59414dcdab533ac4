"""MLServer's custom runtime for the PyTorch network; the other models use its own mlserver-sklearn."""

import weights
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Mlp(MLModel):
    async def load(self):
        self.call = weights.load()
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("predict", self.call(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
