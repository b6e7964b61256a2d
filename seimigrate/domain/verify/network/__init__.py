"""Evaluation of NetworkPolicies: which peers can reach which port of a pod, and whether they should.

``policies`` parses them, ``reachability`` computes what they admit, ``evaluate`` compares that with the plan.
"""
