"""Trains whatever objective it is given: seeds, devices, processes, averages, checkpoints and the one loop."""
