"""What the bindings promise, seen from another language: the stories of phones."""

import asyncio
import socket
from unittest import mock

from anyport import AnyportError, Client, ClientOptions, Event, Notice, Start, Status, SubscribeOptions
from anyport import anyport as generated
from stage import PATIENCE_SECS, Reader, Story, publish, quake, read

STRONG = SubscribeOptions(name="strong", filter="type = 'gov.usgs.quake' AND data.mag >= 4.5")
ALL = SubscribeOptions(name="all", start=Start.EARLIEST())


class AwayAndBack(Story):
    async def test_a_phone_that_returns_gets_exactly_what_it_missed_and_what_is_acked_never_again(self):
        phone, others = self.client("phone"), self.client("others")
        strong = Reader(phone.subscription(STRONG))
        await strong.subscription.open()
        await publish(others, range(0, 10))
        await strong.read(10)

        await phone.suspend()
        self.assertEqual(phone.status(), Status.SUSPENDED())
        await publish(others, range(10, 20))
        await publish(others, range(100, 110), magnitude=2.0)
        await phone.resume()
        await strong.read(20)
        self.assertEqual(strong.ids, list(range(20)))
        await strong.subscription.acked()
        await phone.disconnect()

        again = self.client("phone")
        after = Reader(again.subscription(STRONG))
        await after.subscription.open()
        await publish(others, [20])
        await after.read(1)
        self.assertEqual(after.ids, [20])
        self.assertTrue(after.subscription.is_caught_up())

    async def test_what_is_not_acked_comes_again_to_the_next_process(self):
        phone = self.client("phone")
        await publish(self.client("others"), range(5))
        subscription = phone.subscription(ALL)
        seen = []

        def ack_the_first_two(batch):
            ids = [int(delivery.event.id) for delivery in batch.open().deliveries]
            seen.extend(ids)
            batch.ack_some([place for place, number in enumerate(ids) if number < 2])

        await read(subscription, ack_the_first_two, lambda: len(seen) == 5)
        await subscription.acked()
        await phone.disconnect()
        again = Reader(self.client("phone").subscription(ALL))
        await again.read(3)
        self.assertEqual(again.ids, [2, 3, 4])

    async def test_a_resume_token_stored_with_the_effects_makes_them_happen_once(self):
        phone = self.client("phone")
        await publish(self.client("others"), range(3))
        subscription = phone.subscription(ALL)
        stored, effects = [], []

        def store_and_ack_the_one_before(batch):
            if stored:
                stored[-1].ack()
            effects.extend(delivery.event.id for delivery in batch.open().deliveries)
            stored.append(batch)

        await read(subscription, store_and_ack_the_one_before, lambda: len(effects) == 3)
        token = stored[-1].resume_token()
        # It crashes here, between storing and acking.
        await phone.disconnect()
        await publish(self.client("others"), [3])
        resumed = SubscribeOptions(name="all", resume_token=token)
        again = Reader(self.client("phone").subscription(resumed))
        await again.read(1)
        self.assertEqual(again.ids, [3])


class Devices(Story):
    async def test_the_device_that_comes_later_takes_over_where_the_other_was(self):
        others, phone = self.client("others"), self.client("phone")
        on_phone = Reader(phone.subscription(ALL))
        await publish(others, range(5))
        await on_phone.read(5)
        await on_phone.subscription.acked()

        tablet = self.client("tablet", home=self.make_home())
        await tablet.import_identity(await phone.export_identity(), False)
        on_tablet = Reader(tablet.subscription(ALL))
        await on_tablet.subscription.open()
        self.assertEqual(tablet.id(), phone.id())
        with self.assertRaises(AnyportError.TakenOver) as caught:
            await on_phone.read(6)
        self.assertEqual(caught.exception.why.name, "TakenOver")
        self.assertIn(Notice.TAKEN_OVER(), on_phone.notices)
        with self.assertRaises(AnyportError.TakenOver):
            await phone.subscription(STRONG).open()

        await publish(phone, [5])
        await on_tablet.read(1)
        self.assertEqual((on_phone.ids, on_tablet.ids), ([0, 1, 2, 3, 4], [5]))

    async def test_an_identity_is_not_replaced_unless_that_is_meant(self):
        phone, other = self.client("phone"), self.client("other")
        await phone.connect()
        await other.connect()
        exported = await phone.export_identity()
        with self.assertRaises(AnyportError.Failed) as caught:
            await Client(ClientOptions(servers=[self.broker], home=self.home, name="other")).import_identity(exported, False)
        self.assertEqual(caught.exception.why.name, "IdentityThere")


class Networks(Story):
    async def test_an_address_that_changes_costs_no_event_and_no_session(self):
        proxy, server = await self.proxy()
        phone, others = self.client("phone", server=server), self.client("others")
        reader = Reader(phone.subscription(ALL))
        changes = [
            [],
            [lambda: proxy.tell("rebind")],
            [phone.network_changed],
            # Both at once, as when a phone leaves the house.
            [lambda: proxy.tell("rebind"), phone.network_changed],
        ]
        for number, change in enumerate(changes):
            for step in change:
                await step()
            await asyncio.gather(publish(others, range(number * 500, number * 500 + 500)), reader.read(number * 500 + 500))
        self.assertEqual(reader.ids, list(range(2000)))
        self.assertEqual(len(reader.notices), 1, "one session, never lost")
        self.assertTrue(reader.notices[0].is_resumed())


    async def test_what_is_published_without_a_network_is_stored_once_when_there_is_one(self):
        proxy, server = await self.proxy()
        phone = self.client("phone", server=server)
        outbox = phone.outbox()
        await proxy.tell("cut both")
        for number in range(3):
            await outbox.publish(quake(number))
        self.assertEqual((outbox.status().events, phone.status()), (3, Status.NOT_CONNECTED()))
        await proxy.tell("heal")
        await outbox.send()
        await asyncio.wait_for(outbox.flush(), PATIENCE_SECS)
        await outbox.publish(quake(3))
        reader = Reader(self.client("reader").subscription(ALL))
        await reader.read(4)
        self.assertEqual(reader.ids, [0, 1, 2, 3])


class Crowds(Story):
    async def test_a_thousand_calls_at_once_are_all_answered(self):
        publisher = self.client("crowd").publisher()
        stored = await asyncio.gather(*(publisher.publish(quake(number)) for number in range(1000)))
        self.assertEqual(sorted(each.offset for each in stored), list(range(1000)), "each has a place of its own")

        reader = self.client("reader").subscription(ALL)
        ids = []

        async def read_some():
            batch = await reader.next_batch(1, PATIENCE_SECS * 1000)
            while not (deliveries := batch.open().deliveries):
                batch = await reader.next_batch(1, PATIENCE_SECS * 1000)
            ids.append(int(deliveries[0].event.id))
            batch.ack()

        await asyncio.gather(*(read_some() for _ in range(1000)))
        self.assertEqual(sorted(ids), list(range(1000)), "each event has gone to one of them")


class GivenUp(Story):
    """A call may be given up while it waits, or between the moment it is done and the moment its result is taken."""

    async def give_up_waiting(self, call):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    async def give_up_done(self, call):
        task = asyncio.ensure_future(call)
        deliver = generated._uniffi_set_future_result
        done = []

        def give_up(future, code):
            if code == generated._UNIFFI_RUST_FUTURE_POLL_READY:
                done.append(code)
                task.cancel()
            else:
                deliver(future, code)

        with mock.patch.object(generated, "_uniffi_set_future_result", give_up), self.assertRaises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_SECS)
        self.assertTrue(done, "it was done when it was given up")

    async def test_no_event_is_lost_with_a_call_that_was_given_up(self):
        others, phone = self.client("others"), self.client("phone")
        reader = Reader(phone.subscription(ALL))
        for start in range(0, 100, 10):
            await self.give_up_waiting(reader.subscription.next_batch(100, 60_000))
            await publish(others, range(start, start + 10))
            await self.give_up_done(reader.subscription.next_batch(7, 60_000))
            await self.give_up_done(reader.subscription.next_batch(7, 60_000))
            await reader.read(start + 10)
        self.assertEqual(reader.ids, list(range(100)))
        await reader.subscription.acked()

    async def test_connecting_subscribing_and_sending_can_be_given_up_and_tried_again(self):
        for give_up in [self.give_up_waiting, self.give_up_done]:
            phone = self.client(give_up.__name__)
            await give_up(phone.connect())
            subscription = phone.subscription(ALL)
            await give_up(subscription.open())
            await subscription.open()
            outbox = phone.outbox()
            await give_up(outbox.publish(quake(0)))
            await give_up(outbox.send())
            await outbox.send()
            await asyncio.wait_for(outbox.flush(), PATIENCE_SECS)
            await phone.disconnect()

    async def test_what_a_given_up_publish_handed_over_is_published(self):
        publisher = self.client("others").publisher()
        await self.give_up_done(publisher.publish(quake(0)))
        await publisher.flush()
        reader = Reader(self.client("phone").subscription(ALL))
        await reader.read(1)
        self.assertEqual(reader.ids, [0])


class Errors(Story):
    async def test_an_error_says_what_it_is_and_whether_to_try_again(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            server = "127.0.0.1:%d" % silent.getsockname()[1]
            options = ClientOptions(servers=[server], home=self.home, name="lost", connect_timeout_ms=200)
            with self.assertRaises(AnyportError.Unreachable) as caught:
                await Client(options).connect()
        why = caught.exception.explanation()
        self.assertEqual((why.code, why.name, why.retryable), (1009, "Unreachable", True))
        self.assertIn(server, why.text)

        phone = self.client("phone")
        with self.assertRaises(AnyportError.Failed) as caught:
            await phone.subscription(SubscribeOptions(name="bad", filter="data.mag >=")).open()
        self.assertEqual((caught.exception.why.name, caught.exception.why.retryable), ("BadFilter", False))

        with self.assertRaises(AnyportError.NotPublished) as caught:
            await phone.publisher().publish_batch([quake(0), Event(id="", source="/story", type="t")])
        self.assertFalse(caught.exception.why.maybe_stored)
        await publish(phone, [1])
        reader = Reader(phone.subscription(ALL))
        await reader.read(1)
        self.assertEqual(reader.ids, [1], "nothing of a batch with a bad event is published")

    async def test_the_session_of_an_identity_is_for_one_at_a_time(self):
        await self.client("phone").subscription(ALL).open()
        with self.assertRaises(AnyportError.Failed) as caught:
            await self.client("phone").subscription(STRONG).open()
        self.assertEqual((caught.exception.why.name, caught.exception.why.retryable), ("InUse", True))
