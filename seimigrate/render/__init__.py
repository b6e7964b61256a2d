"""How results are shown: tables for people, JSON for machines, quiet lines for what happens meanwhile."""
