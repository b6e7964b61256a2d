"""How a fleet moves: order, canaries, waves, budgets. Values and pure functions, as everything in the domain."""
