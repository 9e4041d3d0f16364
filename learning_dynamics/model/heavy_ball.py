"""A momentum whose memory lasts for a number of updates of order N."""

from typing import Any

from learning_dynamics.pytrees import configuration, is_traced
from learning_dynamics.validation import positive_number

__all__ = ["HeavyBall"]


@configuration
class HeavyBall:
    """Momentum 1 - gamma / N: weights have a velocity on the scale of tau = updates / N.

        V' = (1 - gamma / N) V - (eta / N^2) G,     W' = W + V',     V = 0 at time zero,

    that is d^2 W / dtau^2 = -gamma dW / dtau - eta G, with G = dl/dW + weight_decay W. Parameters
    likewise, theta'' = -gamma theta' - rate dl/dtheta. Pass it as `Problem(momentum=)`.

    Attributes:
        friction: gamma, positive. For large gamma it is SGD at the learning rate eta / gamma.

    Raises:
        ValueError: if the friction is not positive.
    """

    friction: Any

    def __post_init__(self) -> None:
        if not is_traced(self.friction):
            positive_number("friction", self.friction)
