"""What the simulator can fail with; every text is a sentence for whoever runs it."""


class SimulatorError(Exception):
    """It cannot start: bad layout or script, port taken, file not writable."""


class CommandError(SimulatorError):
    """A command cannot be carried out: not one we know, or nothing it could be about."""
