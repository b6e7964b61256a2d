"""The demo: a simulated fleet, cut over in memory."""
