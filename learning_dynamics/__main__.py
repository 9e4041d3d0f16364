"""`python -m learning_dynamics` is the command `learning-dynamics`."""

import sys

from learning_dynamics.report.cli import main

if __name__ == "__main__":
    sys.exit(main())
