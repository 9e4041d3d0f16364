"""`linear/networks-follow`: networks trained on finite data, beside the linear theory."""

from learning_dynamics.images import ImageSet
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion.claims import convolutional
from linear_diffusion.claims import finite_networks as networks
from linear_diffusion.claims.common import SOURCE
from linear_diffusion.claims.network_figures import gains_figure, losses_figure


@claim(
    "linear/networks-follow",
    statement=(
        "Non-linear denoisers trained on finite data behave like linear ones: the gap between test "
        "and training loss opens below about as many samples as dimensions, and their mean "
        "Jacobian follows the gains of the linear theory, from which it departs on images."
    ),
    source=SOURCE,
    seconds=25,
)
def networks_follow(run: Run) -> Evidence:
    """A linear and a convolutional denoiser, N = d/8 to 8 d, Gaussian data and photographs."""
    return follow(run)


def follow(run: Run, images: ImageSet | None = None) -> Evidence:
    """Run the claim on patches of given images, such as `load_cifar(folder)`.

    Args:
        run: size and key.
        images: by default the bundled photographs.
    """
    every = networks.trained(run, images)
    gaussian = networks.gaussian(every)
    onsets = convolutional.gap_onsets(every)
    panels = {
        "losses": Panel(
            losses_figure(every),
            "Training loss (lower) and test loss (upper) of both denoisers against the number of "
            "samples; lines: linear theory for the same covariance, dotted: the best linear "
            "denoiser. The linear denoiser is claimed to lie on the lines on Gaussian data. The "
            "convolutional one is not: it overfits less below N = d, and on photographs it ends "
            "below the linear ones.",
        ),
        "gains": Panel(
            gains_figure(every),
            "Mean Jacobian of the convolutional denoiser along the eigenvectors of the covariance, "
            "over the gain of the best linear denoiser. Lines: expected gains of the linear "
            "denoiser for the same number of samples. With plenty of Gaussian data they agree; "
            "with few samples the network learns less of the spurious gains, in the leading "
            "directions above all; on photographs its gains are larger than on Gaussian data.",
        ),
        "onset": Panel(
            onsets[0].plot(logy=False),
            "Number of samples at which the gap between test and training loss of the "
            "convolutional denoiser is half the loss of the best linear denoiser, over that of the "
            "linear theory.",
        ),
    }
    linear = [networks.linear_losses(gaussian), networks.linear_gains(gaussian)]
    others = [convolutional.gains_of_modes(gaussian), convolutional.beside_linear(every)]
    return Evidence.of([*linear, onsets, *others], panels, NOTES)


NOTES = (
    f"Patches of {networks.SIZE} x {networks.SIZE} pixels of equal contrast without their mean, "
    "d = 63. Gaussian data with their covariance are the case in which the linear theory is exact "
    "and the best denoiser is linear. Both denoisers see the same minibatches and noise (Adam).",
    "Claimed for the linear denoiser: losses and gains. Its scatter over data sets is reduced by "
    "the exact optimum on the same data sets, whose mean is taken over more of them. The excess "
    "that the last minibatches leave is allowed as 5/4 of what `minibatch_excess` predicts.",
    f"Claimed for the convolutional one: the gap opens at {convolutional.LEAST:g} to 1 times the "
    "number of samples of the linear theory (weights are shared between places, so that fewer "
    "samples do); on Gaussian data at N = 8 d its mean Jacobian is diagonal with the linear gains "
    "up to sqrt((R - R*) / c_k), an equal share of its excess loss R - R* in mode k, whose noisy "
    "variance is c_k: what the loss hardly sees, the leading directions, is learned least exactly. "
    "Elsewhere gains are shown and not claimed.",
    "No denoiser has a test loss below that of the best linear one on Gaussian data, whatever N. "
    "On images the best denoiser is not linear: at N = 8 d the convolutional denoiser must lie "
    "below the linear one that was trained on the same data sets.",
)
