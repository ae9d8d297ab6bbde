"""One kind kept equal to the API server: discovered, listed in pages, watched, and listed again when history is lost.

In: answers, bytes of a watch, failures, and the time. Out: the next step (ask this, watch that, wait) and the objects
in `holding`. Pure; `following` does what it says. The rule not to break: nothing is forgotten but by what the API
server says: a deletion, or a complete list without the object. Whatever fails, the last known state stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Literal

import msgspec

from milliroute.control.source.kubernetes import answers, resources
from milliroute.control.source.kubernetes.answers import BadAnswerError, Entry, Event, Key
from milliroute.control.source.kubernetes.backoff import Pace, asked_s, delay_s, slow_s
from milliroute.control.source.kubernetes.framing import Lines, LineTooLongError
from milliroute.control.source.kubernetes.holding import Holding
from milliroute.control.source.kubernetes.resources import Resource

# What client-go asks for; an API server may give less.
PAGE_OBJECTS = 500
# So many expired pages in a row, and everything is asked for at once: the list takes longer than history lasts.
MAX_EXPIRED_LISTS = 2
# So many failed watches in a row without one event, and there is a list: whatever is wrong with our version, it heals.
MAX_BARREN_WATCHES = 6
# Seconds after which a watch was worth having although nothing happened.
WORTHWHILE_S = 1.0

# Said of a vital kind that never could be read.
NEVER_EMPTY = "; without it this service is not complete: let it list and watch it"

Knowledge = Literal["nothing", "absent", "forbidden", "all"]


class Phase(Enum):
    GROUP = "group"
    DISCOVER = "discover"
    LIST = "list"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Get:
    path: str
    params: Mapping[str, str]
    patience_s: float


@dataclass(frozen=True, slots=True)
class Watch:
    """A silence of `patience_s` ends it."""

    path: str
    params: Mapping[str, str]
    patience_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` of a watch that was opened is empty; `retry_after` as sent."""

    status: int
    body: bytes = b""
    retry_after: str = ""


class Reflector:
    """step() says what to do; one of answered(), opened(), received(), ended() and lost() is told what came of it.

    `known` says what the holding is worth, `trouble` why it may be old ("": it is not).
    """

    def __init__(self, resource: Resource, namespace: str, rng: Random, pace: Pace = Pace()) -> None:  # noqa: B008
        self.resource = resource
        self.holding = Holding()
        self.known: Knowledge = "nothing"
        self.trouble = ""
        self._namespace, self._rng, self._pace = namespace, rng, pace
        self._start = Phase.GROUP if resource.group else Phase.LIST
        self._phase = self._start
        # Those that the cluster serves of the group, from the newest on; the one in use is the first.
        self._versions = resource.versions
        self._due = 0.0
        self._failures = 0
        self._refused_since: float | None = None
        self._new_list()
        self._expired_lists = 0
        # Of the watch that is open.
        self._revision = ""
        self._lines = Lines()
        self._opened = 0.0
        self._is_barren = True

    @property
    def version(self) -> str:
        """The version of the API that is read."""
        return self._versions[0]

    def step(self, now: float) -> Wait | Get | Watch:
        if now < self._due:
            return Wait(self._due - now)
        if self._phase is Phase.GROUP:
            return Get(self.resource.group_path(""), {}, self._pace.patience_s)
        if self._phase is Phase.DISCOVER:
            return Get(self.resource.group_path(self.version), {}, self._pace.patience_s)
        path = self.resource.path(self.version, self._namespace)
        if self._phase is Phase.LIST:
            return Get(path, self._list_params(), self._pace.patience_s)
        seconds = max(1, round(self._pace.watch_s * self._rng.uniform(0.5, 1.0)))
        params = self._selected(
            watch="1", allowWatchBookmarks="true", resourceVersion=self._revision, timeoutSeconds=str(seconds)
        )
        return Watch(path, params, seconds + self._pace.patience_s)

    def answered(self, answer: Answer, now: float) -> bool:
        """The answer to a Get. True when the holding, `known` or `trouble` changed."""
        before = self.known, self.trouble
        is_news = False
        if answer.status != 200:
            is_news = self._refused(answer, now)
        else:
            try:
                is_news = self._understood(answer, now)
            except (BadAnswerError, msgspec.DecodeError) as error:
                self._new_list()
                self._failed(f"bad answer: {error}", now)
        return is_news or before != (self.known, self.trouble)

    def opened(self, answer: Answer, now: float) -> bool:
        """The status of a Watch. True when something changed; the stream counts only when the status is 200."""
        before = self.known, self.trouble
        is_news = False
        self._lines, self._opened, self._is_barren = Lines(), now, True
        if answer.status == 200:
            self.trouble, self._refused_since = "", None
        else:
            is_news = self._refused(answer, now)
        return is_news or before != (self.known, self.trouble)

    def received(self, data: bytes, now: float) -> tuple[bool, bool]:
        """Bytes of the open watch. (Whether something changed, whether to read on.)"""
        is_news = False
        try:
            for line in self._lines.feed(data):
                event = answers.event(line, self.resource, self.version)
                if event.kind == "ERROR":
                    self._broke(event, now)
                    return is_news, False
                is_news |= self._took(event)
        except (BadAnswerError, LineTooLongError) as error:
            # What it was about is not known, so everything is asked for.
            self._begin_list()
            self._failed(f"bad answer: {error}", now)
            return True, False
        return is_news, True

    def ended(self, now: float) -> bool:
        """The watch ended: because it was time to, or because the connection was lost; half a line was no event."""
        if not self._is_barren or now - self._opened >= WORTHWHILE_S:
            self._failures, self._due = 0, now
            return False
        return self._failed(self.trouble, now)

    def lost(self, reason: str, now: float) -> bool:
        """No answer, or no watch, came about. True when something changed."""
        return self._failed(reason, now)

    def _selected(self, **params: str) -> dict[str, str]:
        return params | ({"labelSelector": self.resource.selector} if self.resource.selector else {})

    def _list_params(self) -> dict[str, str]:
        if self._rest:
            return self._selected(limit=str(PAGE_OBJECTS), **{"continue": self._rest})
        # No resourceVersion: the newest there is. An older one, from a cache that lags, would bring back what is gone.
        return self._selected() if self._expired_lists >= MAX_EXPIRED_LISTS else self._selected(limit=str(PAGE_OBJECTS))

    def _new_list(self) -> None:
        self._rest = ""
        self._found: dict[Key, Entry] = {}

    def _begin_list(self) -> None:
        self._phase = Phase.LIST
        self._new_list()

    def _understood(self, answer: Answer, now: float) -> bool:
        """Raises BadAnswerError, msgspec.DecodeError."""
        if self._phase is Phase.LIST:
            return self._listed(answer)
        if self._phase is Phase.DISCOVER:
            return self._discovered(answer, now)
        self._versions = resources.versions(answer.body, self.resource)
        if not self._versions:
            return self._not_here(now)
        self._phase = Phase.DISCOVER
        return False

    def _discovered(self, answer: Answer, now: float) -> bool:
        if not resources.serves(answer.body, self.resource):
            return self._not_here(now)
        self._expired_lists = 0
        self._begin_list()
        return False

    def _listed(self, answer: Answer) -> bool:
        page = answers.page(answer.body, self.resource, self.version)
        self._found.update((entry.key, entry) for entry in page.entries)
        self._rest = page.rest
        if page.rest:
            return False
        is_news = self.holding.replace(self._found.values())
        self.known, self.trouble, self._refused_since = "all", "", None
        self._revision, self._phase = page.revision, Phase.WATCH
        self._expired_lists = 0
        self._new_list()
        return is_news

    def _took(self, event: Event) -> bool:
        self._revision = event.revision
        self._is_barren = False
        if event.entry is None:
            return False
        if event.kind == "DELETED":
            return self.holding.drop(event.entry.key)
        return self.holding.put(event.entry)

    def _broke(self, event: Event, now: float) -> None:
        if event.code == 410:
            self._begin_list()
            self._pause(now)
            return
        self._failed(f"watch: {event.text or event.code}", now)

    def _refused(self, answer: Answer, now: float) -> bool:
        """What a status other than 200 means. True when the holding changed."""
        if answer.status == 404:
            return self._not_here(now)
        if answer.status == 410:
            self._expired_lists += self._phase is Phase.LIST
            self._begin_list()
            self._pause(now)
            return False
        if self._phase is Phase.LIST and self._rest:
            self._new_list()  # whatever was wrong with that page, it is not asked for again
        said = answers.message(answer.body)
        text = f"status {answer.status}" + (f": {said}" if said else "")
        if answer.status == 403:
            return self._forbidden(text, now)
        self._failed(text, now)
        self._due = max(self._due, now + asked_s(answer.retry_after, self._pace) * self._rng.uniform(1.0, 1.2))
        return False

    def _not_here(self, now: float) -> bool:
        """This version is not served: the next one is asked for; after the last one the kind is not there at all."""
        if self._phase is Phase.DISCOVER and len(self._versions) > 1:
            self._versions = self._versions[1:]
            return False
        was_looked_for = self._phase in (self._start, Phase.DISCOVER)
        self._phase, self._versions = self._start, self.resource.versions
        self._new_list()
        if was_looked_for:
            return self._absent(now)
        self._pause(now)
        return False

    def _absent(self, now: float) -> bool:
        if self._refused_since is None:
            self._refused_since = now
        self._due = now + slow_s(self._pace, self._rng)
        if self.holding.entries and now - self._refused_since < self._pace.gone_after_s:
            self.trouble = "not served any more"
            self._due = min(self._due, now + self._pace.gone_after_s / 4)
            return False
        self.known, self.trouble, self._failures = "absent", "", 0
        return self.holding.replace(())

    def _forbidden(self, text: str, now: float) -> bool:
        if self._refused_since is None:
            self._refused_since = now
        self.trouble = text
        self._due = now + slow_s(self._pace, self._rng)
        if self.known == "absent":
            self.known = "nothing"  # it is there now, and what is in it nobody knows
        if self.resource.is_vital and self.known == "nothing":
            self.trouble += NEVER_EMPTY
        elif self.known == "nothing" and now - self._refused_since >= self._pace.forbidden_after_s:
            self.known = "forbidden"
        return False

    def _failed(self, reason: str, now: float) -> bool:
        is_news, self.trouble = reason != self.trouble, reason
        self._pause(now)
        if self._phase is Phase.WATCH and self._failures % MAX_BARREN_WATCHES == 0:
            self._begin_list()
        return is_news

    def _pause(self, now: float) -> None:
        self._failures += 1
        self._due = now + delay_s(self._failures, self._pace, self._rng)
