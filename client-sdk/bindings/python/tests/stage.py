"""The set of a story: one broker on loopback, its clients, and perhaps a bad network between them. Nothing outlives its story."""

import asyncio
import os
import re
import tempfile
import unittest
from pathlib import Path

from anyport import Client, ClientOptions, Event

PROGRAMS = Path(os.environ["ANYPORT_PROGRAMS"])
# For what takes a moment, on a machine that may be busy with something else.
PATIENCE_SECS = 60


class Program:
    """A program of this project, spoken to by lines."""

    def __init__(self, process):
        self.process = process

    @classmethod
    async def start(cls, name, *arguments, home):
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        environment = {**os.environ, "ANYPORT_HOME": home}
        process = await asyncio.create_subprocess_exec(
            PROGRAMS / name, *arguments, stdin=pipe, stdout=pipe, stderr=nothing, env=environment
        )
        return cls(process)

    async def line(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_SECS)
        if not line:
            raise RuntimeError(f"it has ended with {await self.process.wait()}")
        return line.decode().strip()

    async def address(self, pattern):
        """The address in its next line, which must be such a line."""
        line = await self.line()
        match = re.match(pattern + r" (127\.0\.0\.1:\d+)", line)
        if not match:
            raise RuntimeError(f"it says {line!r}")
        return match[1]

    async def tell(self, command):
        self.process.stdin.write(f"{command}\n".encode())
        answer = await self.line()
        if answer != "done":
            raise RuntimeError(f"{command!r} is answered by {answer!r}")

    async def stop(self):
        if self.process.returncode is None:
            self.process.kill()
        # Reads what is left, so that the pipes are closed with the process.
        await self.process.communicate()


class Story(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # A thousand calls at once are not slow because something blocks.
        asyncio.get_running_loop().set_debug(False)
        self.home = self.make_home()
        data, somewhere = self.make_home(), "127.0.0.1:0"
        listen = ["--listen", somewhere, "--admin", somewhere, "--http", somewhere]
        broker = await Program.start("anyportd", "--dev", "--data", data, *listen, home=self.home)
        self.addAsyncCleanup(broker.stop)
        self.broker = await broker.address("ready on")

    def make_home(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    async def proxy(self):
        """A network that can be told what to do. Returns its control and the address that stands for the broker's."""
        proxy = await Program.start("loadtest", "proxy", self.broker, home=self.home)
        self.addAsyncCleanup(proxy.stop)
        return proxy, await proxy.address("proxy on")

    def client(self, name, home=None, server=None):
        client = Client(ClientOptions(servers=[server or self.broker], home=home or self.home, name=name))
        self.addAsyncCleanup(client.disconnect)
        return client


def quake(number, magnitude=5.0):
    """All are of one partition, so that their order is known."""
    data = f'{{"mag": {magnitude}}}'.encode()
    return Event(id=str(number), source="/story", type="gov.usgs.quake", subject="one", data=data)


async def publish(client, numbers, magnitude=5.0):
    published = await client.publisher().publish_batch([quake(number, magnitude) for number in numbers])
    assert all(each.is_stored() for each in published), published


async def read(subscription, take, enough):
    """Gives batches to `take` until there is enough."""

    async def go_on():
        while not enough():
            take(await subscription.next_batch(100, 10_000))

    await asyncio.wait_for(go_on(), PATIENCE_SECS)


class Reader:
    """Reads and acks in order, and remembers what it was told."""

    def __init__(self, subscription):
        self.subscription = subscription
        self.ids = []
        self.notices = []

    async def read(self, count):
        """Until so many events have come in all."""
        await read(self.subscription, self.take, lambda: len(self.ids) >= count)

    def take(self, batch):
        contents = batch.open()
        self.ids += [int(delivery.event.id) for delivery in contents.deliveries]
        self.notices += contents.notices
        batch.ack()
