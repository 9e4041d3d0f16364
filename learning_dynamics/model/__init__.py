"""What a user writes down: inputs, learner, rates and order parameters."""
