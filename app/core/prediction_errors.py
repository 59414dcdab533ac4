"""Refusals of predictions that are answered later; see `errors`."""

from __future__ import annotations

from app.core.errors import Refusal


class PredictionNotFound(Refusal):
    code = "prediction-not-found"
    title = "There is no such prediction"

    def __init__(self, id: str) -> None:
        super().__init__(f"There is no prediction {id!r}; or its result expired so long ago that it is forgotten.")
        self.id = id


class PredictionExpired(Refusal):
    code = "prediction-expired"
    title = "The result has expired"

    def __init__(self, id: str, since: str) -> None:
        super().__init__(f"The result of prediction {id!r} was kept until {since}. Ask the model again.")
        self.id = id


class TooManyPending(Refusal):
    """No more predictions of this deployment may wait for their answers."""

    code = "too-many-pending"
    title = "Too many predictions wait"
    retry_after = 5

    def __init__(self, whose: str, bound: str) -> None:
        super().__init__(f"{whose} has as many predictions waiting as it may ({bound}). Send this one again later.")


class PlatformFull(TooManyPending):
    """No more predictions of any deployment may wait."""

    code = "too-many-pending-in-all"

    def __init__(self, bound: str) -> None:
        super().__init__("The platform", bound)


class TimeoutInvalid(Refusal):
    code = "header-invalid"
    title = "A header of the request is not valid"


class IdempotencyKeyInvalid(Refusal):
    code = "idempotency-key-invalid"
    title = "The Idempotency-Key cannot be used"

    def __init__(self, longest: int) -> None:
        super().__init__(f"An Idempotency-Key has 1 to {longest} characters, and is sent once.")


class IdempotencyKeyReused(Refusal):
    code = "idempotency-key-reused"
    title = "This Idempotency-Key was used for another request"

    def __init__(self) -> None:
        super().__init__("The Idempotency-Key was sent before with another body. Take a new key for a new request.")
