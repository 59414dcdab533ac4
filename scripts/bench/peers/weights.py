"""The same model, loaded the same way by every peer, so that only the serving differs: MODEL in the folder MODELS."""

import os
import pathlib

NAME = os.environ["MODEL"]
DTYPE = "float32" if NAME == "mlp" else "float64"
BATCH = int(os.environ.get("BATCH", "1"))
WAIT_SECONDS = 0.001  # for more rows, where a peer can be told
PORT = int(os.environ["PORT"])


def load():
    """A function from an array of rows to an array of predictions."""
    folder = pathlib.Path(os.environ["MODELS"])
    if NAME != "mlp":
        import joblib

        return joblib.load(folder / "model.joblib").predict
    import torch

    torch.set_num_threads(1)
    model = torch.load(folder / "model.pt", weights_only=False)

    def predict(rows):
        with torch.inference_mode():
            return model(torch.from_numpy(rows)).numpy()

    return predict
