"""mosec."""

import numpy as np
import weights
from mosec import Server, Worker


class Bench(Worker):
    def __init__(self):
        self.call = weights.load()

    def forward(self, data):
        if weights.BATCH == 1:
            return {"predictions": self.call(np.asarray(data["rows"], dtype=weights.DTYPE)).tolist()}
        inputs = [np.asarray(each["rows"], dtype=weights.DTYPE) for each in data]
        output, at, answers = self.call(np.concatenate(inputs)), 0, []
        for rows in inputs:
            answers.append({"predictions": output[at : at + len(rows)].tolist()})
            at += len(rows)
        return answers


if __name__ == "__main__":
    server = Server()
    wait = int(weights.WAIT_SECONDS * 1000) if weights.BATCH > 1 else 0
    server.append_worker(Bench, num=1, max_batch_size=weights.BATCH, max_wait_time=wait)
    server.run()
