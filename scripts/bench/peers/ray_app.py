"""Ray Serve, one replica."""

import signal
import sys

import numpy as np
import ray
import weights
from ray import serve


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=128,
    ray_actor_options={"num_cpus": 1},
    logging_config={"enable_access_log": False},
)
class Bench:
    def __init__(self):
        self.call = weights.load()

    @serve.batch(max_batch_size=max(weights.BATCH, 2), batch_wait_timeout_s=weights.WAIT_SECONDS)
    async def many(self, inputs):
        output, at, answers = self.call(np.concatenate(inputs)), 0, []
        for rows in inputs:
            answers.append(output[at : at + len(rows)])
            at += len(rows)
        return answers

    async def __call__(self, request):
        rows = np.asarray((await request.json())["rows"], dtype=weights.DTYPE)
        output = await self.many(rows) if weights.BATCH > 1 else self.call(rows)
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": weights.PORT}, logging_config={"enable_access_log": False})
    serve.run(Bench.bind(), route_prefix="/predict")
    signal.pause()
