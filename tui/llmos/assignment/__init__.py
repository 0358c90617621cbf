"""Assignments: a statement, a starter file, cases, and a grader that trusts nothing it runs."""

from llmos.assignment.box import Limits
from llmos.assignment.course import Assignment, check, grade, list_assignments, start
from llmos.assignment.grading import Report, Row

__all__ = ["Assignment", "Limits", "Report", "Row", "check", "grade", "list_assignments", "start"]
