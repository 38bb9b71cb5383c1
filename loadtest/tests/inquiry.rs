//! What may be asked with a login alone, at the wire and by the SDK.

mod support;

use anyhow::{Result, bail};
use anyport_client::{Error, Identities, SubscribeOptions};
use anyport_loadtest::raw::RawClient;
use anyport_protocol::limits::SUBSCRIPTIONS_PER_CLIENT_MAX;
use anyport_protocol::message::{
    EndSubscription, ListSubscriptions, Ping, SUBSCRIPTIONS_PER_ANSWER, Start, SubscriptionEnded, SubscriptionList,
    ToClient,
};
use anyport_protocol::{Code, Incarnation, SessionEpoch};
use support::{PATIENCE, Scene, wire};

#[tokio::test]
async fn a_list_needs_a_login_and_opens_no_session() -> Result<()> {
    let scene = Scene::set().await?;
    let client = RawClient::connect(&scene.broker).await?;
    let mut control = client.control().await?;
    assert!(matches!(control.ask(Ping {}.into()).await?, ToClient::Pong(_)));
    assert!(control.refused(ListSubscriptions::default().into()).await?.is(Code::NotLoggedIn));
    let end = EndSubscription { name: "all".parse()?, incarnation: Incarnation(1) };
    assert!(control.refused(end.clone().into()).await?.is(Code::NotLoggedIn));

    wire::register(&mut control).await?;
    let ToClient::SubscriptionList(list) = control.ask(ListSubscriptions::default().into()).await? else {
        bail!("no list")
    };
    let SubscriptionList { session, total, subscriptions, more, .. } = list;
    assert_eq!((session.epoch, session.is_open_here, total, more), (SessionEpoch(0), false, 0, false));
    assert!(subscriptions.is_empty());
    assert!(control.refused(end.into()).await?.is(Code::UnknownSubscription));
    assert_eq!(scene.sessions_opened().await?, 0.0);
    Ok(())
}

#[tokio::test]
async fn a_subscription_is_ended_in_the_life_that_was_meant_and_the_session_that_has_it_is_told() -> Result<()> {
    let scene = Scene::set().await?;
    let first = RawClient::connect(&scene.broker).await?;
    let mut session = first.control().await?;
    let own = wire::register(&mut session).await?;
    wire::open(&mut session, 1, 1).await?;
    let before = session.subscribe("all", "", Start::Latest).await?;
    let now = session.subscribe("all", "type = 'other'", Start::Latest).await?;

    let second = RawClient::connect(&scene.broker).await?;
    let mut beside = second.control().await?;
    wire::log_in(&mut beside, &own.token).await?;
    let end = |incarnation| EndSubscription { name: before.name.clone(), incarnation };
    let late = beside.refused(end(before.incarnation).into()).await?;
    assert!(late.is(Code::UnknownSubscription) && late.value == Some(now.incarnation.0), "{late}");
    let ended = beside.ask(end(now.incarnation).into()).await?;
    assert!(matches!(ended, ToClient::Unsubscribed(_)), "{ended:?}");

    let ToClient::SubscriptionEnded(told) = wire::pushed(&mut session).await? else { bail!("not told") };
    let SubscriptionEnded { name, incarnation, fault } = told;
    assert_eq!((name, incarnation), (now.name.clone(), now.incarnation));
    assert!(fault.is(Code::SubscriptionRemoved), "{fault}");
    let again = session.subscribe("all", "", Start::Latest).await?;
    assert!(again.incarnation > now.incarnation, "the session goes on");
    Ok(())
}

#[tokio::test]
async fn a_client_with_many_subscriptions_gets_them_all_by_name() -> Result<()> {
    let scene = Scene::set().await?;
    let client = scene.client("phone").await?;
    let mut names: Vec<_> = (0..SUBSCRIPTIONS_PER_CLIENT_MAX).map(|n| format!("s{n}")).collect();
    for name in &names {
        client.subscribe(SubscribeOptions::new(name, "type = 'wanted'")).await?;
    }
    const { assert!(SUBSCRIPTIONS_PER_CLIENT_MAX > 2 * SUBSCRIPTIONS_PER_ANSWER) };
    // By another process of the same identity, which leaves the first alone.
    let list = scene.client("phone").await?.subscriptions().await?;
    names.sort();
    let listed: Vec<_> = list.subscriptions.iter().map(|report| report.name.to_string()).collect();
    assert_eq!(listed, names);
    assert_eq!((list.total as usize, list.more, list.session.is_open_here), (names.len(), false, true));
    client.subscribe(SubscribeOptions::new("s0", "type = 'other'")).await?;
    Ok(())
}

#[tokio::test]
async fn a_subscription_that_is_removed_ends_for_who_has_it_and_others_of_that_client_go_on() -> Result<()> {
    let scene = Scene::set().await?;
    let client = scene.client("phone").await?;
    let leaving = client.subscribe(SubscribeOptions::new("leaving", "")).await?;
    let (staying, declared) = scene.subscribe(&client, SubscribeOptions::new("staying", ""), scene.everything).await?;
    let staying = support::Attending::begin(client, staying, declared, &scene.oracle, Default::default());

    let beside = scene.client("phone").await?;
    let list = beside.subscriptions().await?;
    let report = &list.subscriptions[0];
    beside.remove_subscription(report.name.clone(), report.incarnation).await?;
    let ended = async { while leaving.next_batch(10, PATIENCE).await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await?;
    assert!(matches!(leaving.ended(), Some(Error::SubscriptionRemoved { name }) if name == "leaving"));
    let twice = beside.remove_subscription(report.name.clone(), report.incarnation).await.expect_err("it is gone");
    assert_eq!(twice.code(), Code::UnknownSubscription as u16);

    // Begins anew, in the process that was told, without being told again.
    drop(leaving);
    drop(staying.client.subscribe(SubscribeOptions::new("leaving", "")).await?);
    scene.producer().await?.publish(0..30).await?;
    scene.settled(declared).await?;
    staying.leave().await?;
    scene.assert_clean();
    let home = Identities::of(scene.broker.home());
    assert_eq!(home.names()?, ["phone", "producer"]);
    Ok(())
}
