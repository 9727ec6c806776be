"""The devices and ports of an iteration, moment by moment; docstring of `simulate` has the rules."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from .network import Matrix, Network

FORWARD, BACKWARD, SEND, REDUCE, GATHER = "forward", "backward", "send", "reduce", "gather"
FORWARD_SHARE = 1 / 3  # of a micro-batch's compute time: backward has two products for each one of forward


class Span(NamedTuple):
    """What occupied a device, or its outgoing port, and for how long.

    what         "forward", "backward", "send" (activations, or gradients of them), "reduce" or "gather"
    micro_batch  -1 for the exchange of gradients
    to           the device whose incoming port a message occupied as well; the device itself for computation
    """

    begin_s: float
    end_s: float
    device: int
    what: str
    micro_batch: int
    to: int


class Message(NamedTuple):
    """Compares by who goes first."""

    asked_s: float
    turn: int  # micro-batch; or for shards of gradients, after all those, the distance from sender to receiver
    sender: int  # tasklets, so that names of devices decide nothing
    receiver: int
    what: str


def order_1f1b(stage: int, stages: int, micro_batches: int) -> list[tuple[str, int]]:
    """What a device of that stage computes, in order: (FORWARD or BACKWARD, micro-batch)."""
    warm = min(micro_batches, stages - stage)
    order = [(FORWARD, number) for number in range(warm)]
    for number in range(micro_batches):
        order.append((BACKWARD, number))
        if warm + number < micro_batches:
            order.append((FORWARD, warm + number))
    return order


class Iteration:
    """All tasklets, numbered stage * replicas + replica, at one moment.

    network        of the tasklets' devices, in that order
    compute        [stages, replicas] s of a micro-batch, forward and backward
    message_bytes  of a micro-batch's activations
    shard_bytes    [stages] of gradients that go from a replica to another
    blocking       whether a message holds its ports for the delay as well
    """

    def __init__(
        self,
        network: Network,
        compute: Matrix,
        message_bytes: float,
        shard_bytes: Matrix,
        micro_batches: int,
        blocking: bool,
    ) -> None:
        (self.stages, self.replicas), self.tasks = compute.shape, compute.size
        self.micro_batches, self.blocking = micro_batches, blocking
        self.delay, self.bandwidth = network.delay_s.tolist(), network.bandwidth_bits_per_s.tolist()
        self.message_bits, self.shard_bits = 8 * message_bytes, (8 * shard_bytes).tolist()
        self.compute = compute.ravel().tolist()
        self.orders = [order_1f1b(stage, self.stages, micro_batches) for stage in range(self.stages)]
        self.done, self.computing = [0] * self.tasks, [False] * self.tasks
        self.received = {FORWARD: [0] * self.tasks, BACKWARD: [0] * self.tasks}  # micro-batches
        self.received[FORWARD][: self.replicas] = [micro_batches] * self.replicas
        self.received[BACKWARD][-self.replicas :] = [micro_batches] * self.replicas
        self.joined: list[list[int]] = [[] for _ in range(self.stages)]
        self.shards = [0] * self.tasks
        self.free = [True] * 2 * self.tasks  # outgoing ports of all tasklets, then the incoming ones
        self.queues: list[dict[Message, None]] = [{} for _ in self.free]  # in the order of who goes first
        self.asked: list[Message] = []  # at this moment
        self.touched: set[int] = set()  # ports that were freed or asked for at this moment
        self.now, self.pipeline_s, self.spans = 0.0, 0.0, list[Span]()
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.numbers = count()

    def play(self) -> None:
        """From the first forward until nothing is left to come; then now is the end."""
        for task in range(self.tasks):
            self._compute(task)
        while self.events:
            self.now = self.events[0][0]
            while self.events and self.events[0][0] == self.now:  # all of a moment, before a port is given away
                _, _, then, facts = heapq.heappop(self.events)
                then(*facts)
            self._give_ports()

    def _after(self, seconds: float, then: Callable[..., None], *facts: Any) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), then, facts))

    def _record(self, seconds: float, task: int, what: str, micro_batch: int, to: int) -> None:
        self.spans.append(Span(self.now, self.now + seconds, task, what, micro_batch, to))

    def _compute(self, task: int) -> None:
        """Begin what is next, if the device is free and the input there."""
        order = self.orders[task // self.replicas]
        if self.computing[task] or self.done[task] == len(order):
            return
        what, micro_batch = order[self.done[task]]
        if self.received[what][task] > micro_batch:
            self.computing[task] = True
            seconds = self.compute[task] * (FORWARD_SHARE if what == FORWARD else 1 - FORWARD_SHARE)
            self._record(seconds, task, what, micro_batch, task)
            self._after(seconds, self._computed, task, what, micro_batch)

    def _computed(self, task: int, what: str, micro_batch: int) -> None:
        self.computing[task] = False
        self.done[task] += 1
        to = task + (self.replicas if what == FORWARD else -self.replicas)
        if 0 <= to < self.tasks:
            self._ask(micro_batch, task, to, SEND)
        if self.done[task] == 2 * self.micro_batches:
            self._join(task)
        self._compute(task)

    def _join(self, task: int) -> None:
        """The device is free for the exchange of gradients, with those of its group that are."""
        self.pipeline_s = self.now
        group = self.joined[task // self.replicas]
        for other in group:
            self._ask_shard(task, other, REDUCE)
            self._ask_shard(other, task, REDUCE)
        group.append(task)

    def _ask_shard(self, sender: int, receiver: int, what: str) -> None:
        self._ask(self.micro_batches + (receiver - sender) % self.replicas, sender, receiver, what)

    def _ask(self, turn: int, sender: int, receiver: int, what: str) -> None:
        self.asked.append(Message(self.now, turn, sender, receiver, what))

    def _give_ports(self) -> None:
        """Let messages go, in their order. Every one that can has a port that was touched at this moment."""
        for message in sorted(self.asked):
            for port in self._ports(message):
                self.queues[port][message] = None
                self.touched.add(port)
        firsts = [(first, port) for port in self.touched if (first := self._first(port))]
        heapq.heapify(firsts)
        while firsts:
            message, port = heapq.heappop(firsts)
            if all(self.free[at] for at in self._ports(message)):
                self._send(message)
            elif again := self._first(port):
                heapq.heappush(firsts, (again, port))
        self.asked.clear()
        self.touched.clear()

    def _ports(self, message: Message) -> tuple[int, int]:
        return message.sender, self.tasks + message.receiver

    def _first(self, port: int) -> Message | None:
        """Of the messages that wait for a port, the first whose ports are both free."""
        if self.free[port]:
            for message in self.queues[port]:
                if self.free[message.sender] and self.free[self.tasks + message.receiver]:
                    return message
        return None

    def _send(self, message: Message) -> None:
        _, turn, sender, receiver, what = message
        delay = self.delay[sender][receiver]
        bits = self.message_bits if what == SEND else self.shard_bits[sender // self.replicas]
        held = bits / self.bandwidth[sender][receiver] + (delay if self.blocking else 0.0)
        for port in self._ports(message):
            self.free[port] = False
            del self.queues[port][message]
        self._record(held, sender, what, turn if what == SEND else -1, receiver)
        self._after(held, self._left, message)
        self._after(held if self.blocking else held + delay, self._arrived, message)

    def _left(self, message: Message) -> None:
        for port in self._ports(message):
            self.free[port] = True
            self.touched.add(port)

    def _arrived(self, message: Message) -> None:
        sender, receiver = message.sender, message.receiver
        if message.what == SEND:
            self.received[FORWARD if receiver > sender else BACKWARD][receiver] += 1
            self._compute(receiver)
        elif message.what == REDUCE:
            self.shards[receiver] += 1
            if self.shards[receiver] == self.replicas - 1:
                for other in self.joined[receiver // self.replicas]:
                    if other != receiver:
                        self._ask_shard(receiver, other, GATHER)
