"""The errors that are meant for a person: one line that names the file, the value and the way out."""


class FrazilError(Exception):
    """Base of every error that the command line prints as one line, with exit code 2."""


class InputError(FrazilError):
    """Something the user gave cannot be used: a file, a molecule, an option, a checkpoint."""
