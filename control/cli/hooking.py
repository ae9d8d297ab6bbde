"""`milliroute webhook`: the admission webhook as a process."""

import asyncio
import logging
import sys

from milliroute.control.config import Address
from milliroute.control.inject import webhook
from milliroute.control.inject.certificate import Certificate
from milliroute.control.inject.plan import Wish


def serve(address: Address, admin: Address, cert: str, key: str, wish: Wish) -> None:
    """Until SIGTERM. Raises ControlError."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="milliroute: %(levelname)s %(message)s")
    asyncio.run(webhook.run(address, admin, wish, Certificate(cert, key)))
