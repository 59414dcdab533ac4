"""How fast a deployment answers, learnt from its answers, so that what it could not do in time is refused at once."""

from __future__ import annotations

STEADINESS = 8  # answers, about, after which a change of pace is believed
CROWD = 2  # requests a replica, from which on they share it, so that their times tell of its pace


class Pace:
    """By Little's law: of those in flight each has to wait for the time that all before it take.

    `cost` is the time of one replica that a request takes, 0 as long as nothing is known. A request that had a replica
    for itself shows only that it takes no more than this: most servers do more at once in hardly more time. So a lower
    cost is learnt from every answer, and a higher one only from those that shared a replica.
    """

    __slots__ = ("cost",)

    def __init__(self) -> None:
        self.cost = 0.0

    def learn(self, seconds: float, ahead: int, replicas: int, *, answered: bool = True) -> None:
        """One that was the `ahead`th in flight when it was sent took `seconds`; longer, if it was not `answered`."""
        sample = seconds * replicas / max(ahead, replicas, 1)
        if (answered and sample < self.cost) or (sample > self.cost and ahead >= CROWD * replicas):
            self.cost += (sample - self.cost) / STEADINESS if self.cost else sample

    def wait(self, ahead: int, replicas: int) -> float:
        """In how many seconds one that is sent as the `ahead`th will be answered, as far as is known.

        0 for the first at each replica: were they refused, nothing could ever be learnt.
        """
        return self.cost * ahead / replicas if ahead > replicas else 0.0
