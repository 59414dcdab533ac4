"""LitServe."""

import litserve
import numpy as np
import weights


class Api(litserve.LitAPI):
    def setup(self, device):
        self.call = weights.load()

    def decode_request(self, request):
        return np.asarray(request["rows"], dtype=weights.DTYPE)

    def batch(self, inputs):
        self.sizes = [len(rows) for rows in inputs]
        return np.concatenate(inputs)

    def predict(self, rows):
        return self.call(rows)

    def unbatch(self, output):
        return np.split(output, np.cumsum(self.sizes)[:-1])

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=weights.BATCH, batch_timeout=weights.WAIT_SECONDS if weights.BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=weights.PORT, generate_client_file=False, log_level="warning", access_log=False)
