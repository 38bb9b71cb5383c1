//! Clients that leave and come back: what they get then is exactly what they missed.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, SystemTimeError, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use anyport_client::{Delivery, Error, Notice, Start, SubscribeOptions, Subscription};
use anyport_loadtest::drive::{Listener, ListenerOptions};
use anyport_loadtest::oracle::{self, SubscriptionId};
use anyport_protocol::event::EncodedEvent;
use anyport_protocol::{Offset, WallMs};
use support::{Attending, OTHER, PATIENCE, Scene, WANTED, earliest, starts};

/// Published before the client leaves, and while it is away.
const BEFORE: u64 = 300;
const AWAY: u64 = 3000;

fn wanted() -> SubscribeOptions {
    SubscribeOptions::new("wanted", WANTED)
}

/// How many events the last session to open said were waiting at most.
fn waiting_max(notices: &[Notice]) -> Option<u64> {
    notices.iter().rev().find_map(|notice| match notice {
        Notice::Resumed { waiting_max } => Some(*waiting_max),
        _ => None,
    })
}

/// The client comes back in a process of its own, under the identity it had.
async fn come_back(scene: &Scene, declared: SubscriptionId) -> Result<Attending> {
    let client = scene.client("phone").await?;
    let subscription = client.subscribe(wanted()).await?;
    Ok(Attending::begin(client, subscription, declared, &scene.oracle, ListenerOptions::default()))
}

/// What had come by when.
#[derive(Debug, Default, PartialEq)]
struct Had {
    live: u64,
    replayed: u64,
}

impl Had {
    fn by(attending: &Attending) -> Self {
        let progress = &attending.listener.progress;
        Self { live: progress.live(), replayed: progress.replayed() }
    }
}

/// Of three thousand events a thousand match; they come once each, all by replay, and nothing else does.
async fn had_exactly_what_it_missed(scene: &Scene, back: Attending, had: Had) -> Result<()> {
    scene.settled(back.declared).await?;
    let now = Had::by(&back);
    assert_eq!((now.live, now.replayed), (had.live, had.replayed + AWAY / 3), "what was missed is read from storage");
    let listened = back.leave().await?;
    let waiting = waiting_max(&listened.notices).context("a session was resumed")?;
    assert!((AWAY / 3..=AWAY + BEFORE).contains(&waiting), "{waiting} events were announced");
    scene.assert_clean();
    Ok(())
}

#[tokio::test]
async fn a_client_that_suspends_while_a_thousand_events_match_gets_exactly_those_when_it_resumes() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let phone = scene.attend(scene.client("phone").await?, wanted(), scene.wanted).await?;
    producer.publish(0..BEFORE).await?;
    scene.settled(phone.declared).await?;
    let before = Had::by(&phone);

    phone.client.suspend().await?;
    producer.publish(BEFORE..BEFORE + AWAY).await?;
    assert_eq!(Had::by(&phone), before, "nothing comes while it is away");
    phone.client.resume().await?;
    had_exactly_what_it_missed(&scene, phone, before).await
}

#[tokio::test]
async fn a_client_that_vanishes_while_a_thousand_events_match_gets_exactly_those_in_a_new_process() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let phone = scene.attend(scene.client("phone").await?, wanted(), scene.wanted).await?;
    producer.publish(0..BEFORE).await?;
    scene.settled(phone.declared).await?;
    let (declared, id) = (phone.declared, phone.client.id());
    // Its acks are durable, and it says no word of goodbye.
    drop(phone.listener.stop().await?);
    drop(phone.client);

    producer.publish(BEFORE..BEFORE + AWAY).await?;
    let back = come_back(&scene, declared).await?;
    assert_eq!(back.client.id(), id);
    had_exactly_what_it_missed(&scene, back, Had::default()).await
}

#[tokio::test]
async fn a_client_gets_exactly_what_it_missed_from_a_broker_that_was_restarted_meanwhile() -> Result<()> {
    let mut scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let phone = scene.attend(scene.client("phone").await?, wanted(), scene.wanted).await?;
    producer.publish(0..BEFORE).await?;
    scene.settled(phone.declared).await?;
    let declared = phone.declared;
    phone.leave().await?;

    producer.publish(BEFORE..BEFORE + AWAY / 2).await?;
    scene.broker.restart().await?;
    producer.publish(BEFORE + AWAY / 2..BEFORE + AWAY).await?;
    assert!(scene.broker.terminate().await?.success());
    scene.broker.start_again().await?;
    let back = come_back(&scene, declared).await?;
    had_exactly_what_it_missed(&scene, back, Had::default()).await
}

#[tokio::test]
async fn unsubscribing_one_of_two_subscriptions_does_not_disturb_the_other() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let client = scene.client("phone").await?;
    let (leaving, leaving_declared) = scene.subscribe(&client, wanted(), scene.wanted).await?;
    let (staying, staying_declared) =
        scene.subscribe(&client, SubscribeOptions::new("other", OTHER), scene.other).await?;
    let staying = Attending::begin(client, staying, staying_declared, &scene.oracle, ListenerOptions::default());
    producer.publish(0..300).await?;
    // Declared to have been delivered to nobody: the application has not taken a single one.
    staying.client.unsubscribe("wanted").await?;
    scene.oracle.ends_at(leaving_declared, starts(&leaving));
    assert!(leaving.next_batch(1, PATIENCE).await.is_none(), "nothing ever comes of it any more");
    assert!(matches!(leaving.ended(), Some(Error::SubscriptionExpired { name }) if name == "wanted"));

    producer.publish(300..600).await?;
    // Under the same name begins a new one, which is owed nothing from before.
    let (anew, anew_declared) = scene.subscribe(&staying.client, wanted(), scene.wanted).await?;
    assert_eq!(starts(&anew), scene.tails().await?);
    producer.publish(600..900).await?;
    let batch = take(&anew, 100).await?;
    assert!(batch.iter().all(|delivery| delivery.offset >= starts(&anew)[&delivery.partition]));
    scene.oracle.ends_at(anew_declared, starts(&anew));

    scene.settled(staying_declared).await?;
    assert_eq!(staying.received(), 600);
    let listened = staying.leave().await?;
    assert_eq!(listened.notices.len(), 1, "not even a notice: {:?}", listened.notices);
    scene.assert_clean();
    Ok(())
}

/// Takes exactly so many deliveries, without acking them.
async fn take(subscription: &Subscription, count: usize) -> Result<Vec<Delivery>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch =
            subscription.next_batch(count - taken.len(), PATIENCE).await.context("the subscription has ended")?;
        ensure!(!batch.is_empty(), "{} of {count} came", taken.len());
        taken.extend(batch.deliveries);
    }
    Ok(taken)
}

#[tokio::test]
async fn a_subscription_that_is_dropped_and_taken_up_again_goes_on_behind_the_last_ack() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let client = scene.client("phone").await?;
    let first = client.subscribe(wanted()).await?;
    producer.publish(0..300).await?;
    let taken = take(&first, 60).await?;
    first.ack_batch(&taken[..20]);
    first.acked().await?;
    let busy = client.subscribe(wanted()).await.expect_err("somebody has it");
    assert!(matches!(busy, Error::AlreadyOpen { .. }), "{busy}");
    drop(first);

    // Another filter text would begin a new life; the same one does not, wherever it is asked to start.
    let second = client.subscribe(SubscribeOptions { start: Start::Earliest, ..wanted() }).await?;
    let again = take(&second, 80).await?;
    let came_again = |delivery: &Delivery| again.iter().any(|other| other.event == delivery.event);
    assert!(!taken[..20].iter().any(came_again), "an acked event came again");
    assert!(taken[20..].iter().all(came_again), "an event that was not acked did not come again");
    let distinct: HashSet<_> = again.iter().map(|delivery| (delivery.partition, delivery.offset)).collect();
    assert_eq!(distinct.len(), 80, "each of the eighty that were not acked, once");
    Ok(())
}

#[tokio::test]
async fn a_subscription_starts_at_the_beginning_or_the_end_or_a_time() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    producer.publish(0..300).await?;
    let (between, noon) = (scene.tails().await?, a_millisecond_of_its_own().await?);
    producer.publish(300..600).await?;
    let end = scene.tails().await?;
    let client = scene.client("phone").await?;
    let start = |name: &str, start: Start| SubscribeOptions { start, ..SubscribeOptions::new(name, "") };

    let (all, all_declared) = scene.subscribe(&client, start("all", Start::Earliest), scene.everything).await?;
    let (late, late_declared) = scene.subscribe(&client, start("late", Start::Time(noon)), scene.everything).await?;
    let (new, new_declared) = scene.subscribe(&client, start("new", Start::Latest), scene.everything).await?;
    assert!(starts(&all).values().all(|offset| *offset == Offset::ZERO));
    assert_eq!(starts(&late), between, "the broker's append time decides");
    assert_eq!(starts(&new), end);

    producer.publish(600..900).await?;
    for (subscription, declared, count) in
        [(all, all_declared, 900), (late, late_declared, 600), (new, new_declared, 300)]
    {
        let reader = scene.oracle.reader(declared);
        let listener = Listener::start(subscription, Arc::clone(&scene.oracle), reader, ListenerOptions::default());
        scene.settled(declared).await?;
        assert_eq!(listener.progress.total(), count);
        drop(listener.stop().await?);
    }
    client.close().await?;
    scene.assert_clean();
    Ok(())
}

/// A time after everything that has been appended, and before everything that will be.
async fn a_millisecond_of_its_own() -> Result<WallMs> {
    let now = || Ok::<_, SystemTimeError>(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
    let before = now()?;
    while now()? <= before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(WallMs(now()?))
}

#[tokio::test]
async fn another_filter_takes_effect_from_the_position_that_was_reached() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let client = scene.client("phone").await?;
    producer.publish(0..600).await?;
    let (first, first_declared) = scene.subscribe(&client, earliest("one", WANTED), scene.wanted).await?;
    let taken = take(&first, 50).await?;
    let reader = scene.oracle.reader(first_declared);
    tell(&scene, reader, &first, &taken).await?;
    drop(first);

    let (second, second_declared) = scene.subscribe(&client, SubscribeOptions::new("one", OTHER), scene.other).await?;
    let named = starts(&second);
    // Not before what was acked; and the oracle knows whether it is behind something that was not.
    assert!(taken.iter().all(|delivery| delivery.offset < named[&delivery.partition]));
    scene.oracle.ends_at(first_declared, named);
    let second = Attending::begin(client, second, second_declared, &scene.oracle, ListenerOptions::default());
    producer.publish(600..900).await?;
    scene.settled(second_declared).await?;
    let (client, listened) = (second.client, second.listener.stop().await?);

    // Seeking begins anew wherever it was, and so the whole log comes again.
    drop(listened);
    let options = SubscribeOptions { seek: true, ..earliest("one", OTHER) };
    let (third, third_declared) = scene.subscribe(&client, options, scene.other).await?;
    assert!(starts(&third).values().all(|offset| *offset == Offset::ZERO));
    let third = Attending::begin(client, third, third_declared, &scene.oracle, ListenerOptions::default());
    scene.settled(third_declared).await?;
    assert_eq!(third.received(), 600);
    third.leave().await?;
    scene.assert_clean();
    Ok(())
}

/// The application has these, acks them, and knows its acks to be durable.
async fn tell(scene: &Scene, reader: oracle::Reader, subscription: &Subscription, taken: &[Delivery]) -> Result<()> {
    for delivery in taken {
        let event = EncodedEvent::check(&delivery.event)?;
        let event = oracle::EventRef::new(event.source(), event.id());
        let position = oracle::Position { partition: delivery.partition, offset: delivery.offset };
        scene.oracle.delivered(reader, &[oracle::Delivery { event, position, via: oracle::Via::Replay, digest: None }]);
        scene.oracle.ack_begun(reader, event);
        scene.oracle.ack_confirmed(reader, event);
    }
    subscription.ack_batch(taken);
    Ok(subscription.acked().await?)
}
