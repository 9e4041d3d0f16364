"""Networks on real images: which cues of the Fourier domain they learn, and when."""

from fourier_simplicity.networks.architectures import (
    ConvNet,
    ResNet,
    TwoLayer,
    accuracy,
    cross_entropy,
    resnet18,
)
from fourier_simplicity.networks.cues import CueSets, cue_sets, sweep_sets
from fourier_simplicity.networks.filters import (
    FilterLearning,
    excess_kurtosis,
    follow_filters,
    gaussian_clones,
    principal_dimension,
)
from fourier_simplicity.networks.learning import CueLearning, learn_cues
from fourier_simplicity.networks.second_order import (
    angular_covariance,
    gain_over_pairs,
    pairwise_accuracy,
    white_sets,
)
from fourier_simplicity.networks.shared_spectra import (
    SharedSpectra,
    leading_dimension,
    learn_spectra,
    plot_spectra,
)

__all__ = [
    "ConvNet",
    "CueLearning",
    "CueSets",
    "FilterLearning",
    "ResNet",
    "SharedSpectra",
    "TwoLayer",
    "accuracy",
    "angular_covariance",
    "cross_entropy",
    "cue_sets",
    "excess_kurtosis",
    "follow_filters",
    "gain_over_pairs",
    "gaussian_clones",
    "leading_dimension",
    "learn_cues",
    "learn_spectra",
    "pairwise_accuracy",
    "plot_spectra",
    "principal_dimension",
    "resnet18",
    "sweep_sets",
    "white_sets",
]
