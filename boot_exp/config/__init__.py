"""Compiles configurations. This package alone imports gin; it compiles gin files without importing a component.

source reads Python, code hashes it, parse reads gin, compile follows a stage to everything that it uses, check compares
values with annotations, fault_list gathers faults, frozen is the result, params reads params.yaml, runs composes its
runs, plan writes plan.yaml, and runtime builds stages.
"""
