"""The only importer of gin: leaves are compiled without importing a component, and stages are built from the result.

source reads Python, code hashes it, parse reads gin, compile follows a stage to all that it reaches, check fits values
to annotations, faults gathers what is wrong, frozen is the result, runs says what params.yaml asks for, runtime builds.
"""
