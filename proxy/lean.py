"""Imports msgspec without typing_extensions, which it takes when it finds it and does not need from Python 3.11 on.

grpcio brings typing_extensions, but only the agent imports grpc: in a worker it would be 1.7 MiB for nothing (measured,
CPython 3.11). Import this before anything that imports msgspec; grpc still finds typing_extensions afterwards.
"""

import sys

_NAME = "typing_extensions"

if _NAME not in sys.modules:
    sys.modules[_NAME] = None  # type: ignore[assignment]  # how the import system is told: not there (PEP 328)
    try:
        import msgspec  # noqa: F401  # the import is the purpose
    finally:
        del sys.modules[_NAME]
