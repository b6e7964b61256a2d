"""Read plan files: every error at once, each with its place, and no plan at all unless it makes sense as a whole."""

from __future__ import annotations

from seimigrate.planfile.loader import load_plan, read_plan
from seimigrate.planfile.problems import Place, PlanError, Problem
from seimigrate.planfile.saved import read_saved, write_saved
from seimigrate.planfile.schema import plan_schema

__all__ = ["Place", "PlanError", "Problem", "load_plan", "plan_schema", "read_plan", "read_saved", "write_saved"]
