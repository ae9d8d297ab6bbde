"""One reflector driven over the API: asks what it wants to ask, and tells it what came.

In: a reflector and an Api. Out: a call of `on_change` whenever the reflector says that something changed. Runs until
it is cancelled; a bug in one kind is logged and tried again, and stops no other kind.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from milliroute.control.source.kubernetes.api import NoAnswerError, Stream
from milliroute.control.source.kubernetes.reflector import Answer, Get, Reflector, Wait, Watch

log = logging.getLogger(__name__)

# Bytes. Reading a page of 500 objects takes some 50 ms, which the proxies' streams should not wait for.
LARGE_BODY_BYTES = 32 * 1024
# Seconds after a bug of ours.
AFTER_BUG_S = 5.0


class Asked(Protocol):
    """What is needed of an Api."""

    async def get(self, path: str, params: Mapping[str, str], patience_s: float) -> Answer: ...

    def stream(
        self, path: str, params: Mapping[str, str], patience_s: float
    ) -> AbstractAsyncContextManager[Stream]: ...


async def follow(reflector: Reflector, api: Asked, on_change: Callable[[], None]) -> None:
    """Runs until it is cancelled."""
    while True:
        try:
            async for is_news in _news(reflector, api):
                if is_news:
                    on_change()
        except Exception:  # a bug; what is known stays known
            log.exception("following %s failed, trying again", reflector.resource.name)
            await asyncio.sleep(AFTER_BUG_S)


async def _news(reflector: Reflector, api: Asked) -> AsyncIterator[bool]:
    loop = asyncio.get_running_loop()
    while True:
        step = reflector.step(loop.time())
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Get):
            yield await _ask(reflector, api, step)
        else:
            async for is_news in _watch(reflector, api, step):
                yield is_news


async def _ask(reflector: Reflector, api: Asked, step: Get) -> bool:
    loop = asyncio.get_running_loop()
    try:
        answer = await api.get(step.path, step.params, step.patience_s)
    except NoAnswerError as error:
        return reflector.lost(str(error), loop.time())
    if len(answer.body) > LARGE_BODY_BYTES:
        return await asyncio.to_thread(reflector.answered, answer, loop.time())
    return reflector.answered(answer, loop.time())


async def _watch(reflector: Reflector, api: Asked, step: Watch) -> AsyncIterator[bool]:
    loop = asyncio.get_running_loop()
    is_open = False
    try:
        async with api.stream(step.path, step.params, step.patience_s) as stream:
            yield reflector.opened(stream.answer, loop.time())
            if stream.answer.status != 200:
                return
            is_open = True
            async for chunk in stream.chunks:
                is_news, goes_on = reflector.received(chunk, loop.time())
                yield is_news
                if not goes_on:
                    return
    except NoAnswerError as error:
        if not is_open:
            yield reflector.lost(str(error), loop.time())
            return
    yield reflector.ended(loop.time())
