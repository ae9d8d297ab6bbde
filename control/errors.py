"""What can go wrong in the control plane.

ControlError
├── ConfigError      a flag or an environment value; CLI exit code 2
├── AuthorityError   what a client calls an authority is not one
├── ValueTextError   a text that should hold a value does not
│   ├── QuantityError   ... a Kubernetes Quantity
│   └── DurationError   ... a duration
└── SourceError      a source cannot be read at all: a path that does not exist at start

Every message is one line and says the value seen and the value wanted. Errors inside a file are not exceptions:
they are texts ``path:line:col: message``, all of a file's at once, in ``model.SourceStatus.errors``.
"""


class ControlError(Exception):
    """Root of what this package raises on purpose."""


class ConfigError(ControlError):
    """A flag, an argument or an environment value is wrong."""


def missing_extra(flag: str, error: ImportError) -> ConfigError:
    """For a library that only some flags need."""
    return ConfigError(f"{flag}: {error.name} is not installed, want pip install 'milliroute[kubernetes]'")


class AuthorityError(ControlError):
    """A text is no authority: empty, with blanks, with a bad port, too long."""


class ValueTextError(ControlError):
    """A text does not hold the value it should; `saw` and `want` are for whoever knows where it stood."""

    def __init__(self, what: str, saw: str, want: str) -> None:
        super().__init__(f"{what} (saw {saw!r}, want {want})")
        self.what = what
        self.saw = saw
        self.want = want


class QuantityError(ValueTextError):
    """A weight is not a Kubernetes Quantity, is negative, or is too large."""


class DurationError(ValueTextError):
    """A text is not a duration such as 60s, 500ms or 1m30s."""


class SourceError(ControlError):
    """A source cannot be read at all."""
