"""The formulas of diffusion, one place each: levels, schedules, denoisers, solvers, samplers, networks."""
