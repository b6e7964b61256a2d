"""NetworkPolicies by meaning: who may reach which port of a pod, and whether that is who should.

``policies`` reads them, ``reach`` says what they let through, ``judging`` compares that with what must be.
"""
