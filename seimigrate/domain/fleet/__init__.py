"""The rollout of a fleet: order, canaries, waves and budgets. Values and pure functions only."""
