"""What is decided: pure values and functions, with no clock, no cluster and no log in them."""
