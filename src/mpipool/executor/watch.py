"""The descriptors of an agent's loop."""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial

from mpipool.executor.channel import Channel
from mpipool.executor.parcels import Way
from mpipool.messages import Message


class Watch:
    """The descriptors of a loop, and what to do when one is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._channels: dict[int, Channel] = {}
        self._ways: dict[int, Way] = {}
        """By the descriptor of the channel."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when one of the watched is ready."""
        return self._epoll.fileno()

    def add(self, descriptor: int, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever there is something to read."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def drop(self, descriptor: int) -> None:
        """Forget a descriptor, before it is closed."""
        if self._handlers.pop(descriptor, None):
            self._epoll.unregister(descriptor)
            self._channels.pop(descriptor, None)
            way = self._ways.pop(descriptor, None)
            if way:
                self.drop(way.ring.bell)

    def send(self, channel: Channel, message: Message) -> None:
        """Send on a channel; what it does not take now goes when it is writable."""
        channel.send(message)
        known = channel.fileno() in self._ways or channel.fileno() not in self._handlers
        if channel.way and not known:
            channel.post = partial(self.send, channel)
            self._ways[channel.fileno()] = channel.way
            self.add(channel.way.ring.bell, channel.way.is_free)
        if channel.unsent and channel.fileno() not in self._channels:
            self._channels[channel.fileno()] = channel
            self._epoll.modify(channel.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def poll(self) -> bool:
        """Handle what is ready now; return whether something was."""
        for way in self._ways.values():
            way.tick()
        ready = self._epoll.poll(0)
        for descriptor, event in ready:
            if event & select.EPOLLOUT:
                self._flush(descriptor)
            if event & ~select.EPOLLOUT and (handler := self._handlers.get(descriptor)):
                handler()
        return bool(ready)

    def _flush(self, descriptor: int) -> None:
        channel = self._channels.get(descriptor)
        if channel is None:
            return  # its process was buried earlier in this round
        channel.flush()
        if not channel.unsent:
            del self._channels[descriptor]
            self._epoll.modify(descriptor, select.EPOLLIN)
