"""How a fleet moves: order, waves, budgets, the brake."""
