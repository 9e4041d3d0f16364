"""Training of flax networks on the compiled loop, observed along the way."""

from learning_dynamics.training.batches import Minibatches, flip, flip_and_shift, shift
from learning_dynamics.training.convolution import Convolution, convolve
from learning_dynamics.training.curves import comes_first, order_of_steps, recovery_steps
from learning_dynamics.training.network import Training, log_steps, train

__all__ = [
    "Convolution",
    "Minibatches",
    "Training",
    "comes_first",
    "convolve",
    "flip",
    "flip_and_shift",
    "log_steps",
    "order_of_steps",
    "recovery_steps",
    "shift",
    "train",
]
