"""What is done: it carries out the decisions of the domain through ports, and decides nothing itself."""
