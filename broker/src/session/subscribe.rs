//! Subscribe and unsubscribe.

use anyport_protocol::filter::Filter;
use anyport_protocol::limits::{INACTIVE_EXPIRY_SECS_DEFAULT, INACTIVE_EXPIRY_SECS_MAX, INACTIVE_EXPIRY_SECS_MIN};
use anyport_protocol::message::{EndSubscription, Start, Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use anyport_protocol::{Code, Cursor, Fault, Offset};
use anyport_storage::registry::{Command, Reply};
use futures_util::future::try_join_all;

use super::control::{Control, Next};
use super::open::subscription_state;
use crate::{Broker, clock};

/// The time of an election or two.
const NOT_KNOWN_RETRY_MS: u32 = 1000;

impl Control {
    pub(super) async fn on_subscribe(&mut self, subscribe: Subscribe) -> Result<Next, Fault> {
        self.not_replayed().await?;
        let session = self.fenced_session()?;
        let (client, epoch) = (session.client, session.epoch);
        let filter = Filter::compile(&subscribe.filter)
            .map_err(|error| Fault::new(Code::BadFilter, format!("{error}\n{}", error.pointer(&subscribe.filter))))?;
        let command = Command::Subscribe {
            client,
            epoch,
            name: subscribe.name,
            filter: subscribe.filter,
            starts: starts(&self.broker, subscribe.start).await?,
            seek: subscribe.seek,
            inactive_expiry_secs: inactive_expiry(subscribe.inactive_expiry_secs)?,
            expired: subscribe.expired,
            temporary: subscribe.temporary,
            now: clock::wall(),
        };
        let (reply, registry_index) = self.broker.command(command).await?;
        let Reply::Subscribed { outcome, subscription } = reply else {
            unreachable!("Subscribe is answered by Subscribed or a refusal: {reply:?}")
        };
        let tails = self.broker.partitions.tails().await;
        let state = subscription_state(&self.broker, &subscription, None, &tails);
        if let Some(session) = self.session.as_mut().filter(|session| !session.knows(state.incarnation)) {
            session.take_up(&state, filter);
        }
        self.touched();
        Ok(Next::Answer(Subscribed { outcome, state, registry_index }.into()))
    }

    pub(super) async fn on_unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<Next, Fault> {
        self.not_replayed().await?;
        let session = self.fenced_session()?;
        let command = Command::Unsubscribe { client: session.client, epoch: session.epoch, name: unsubscribe.name };
        let (reply, registry_index) = self.broker.command(command).await?;
        if let (Reply::Unsubscribed { incarnation }, Some(session)) = (reply, &mut self.session) {
            session.forget(incarnation);
        }
        Ok(Next::Answer(Unsubscribed { registry_index }.into()))
    }

    /// Without a session. The one that uses the subscription is told once the registry has ended it, by whichever broker has it.
    pub(super) async fn on_end_subscription(&mut self, end: EndSubscription) -> Result<Next, Fault> {
        let client = self.client()?;
        self.not_replayed().await?;
        let EndSubscription { name, incarnation } = end;
        let command = Command::End { client, name, incarnation, now: clock::wall() };
        let (_, registry_index) = self.broker.command(command).await?;
        Ok(Next::Answer(Unsubscribed { registry_index }.into()))
    }
}

fn inactive_expiry(asked_secs: u64) -> Result<u64, Fault> {
    match asked_secs {
        0 => Ok(INACTIVE_EXPIRY_SECS_DEFAULT),
        INACTIVE_EXPIRY_SECS_MIN..=INACTIVE_EXPIRY_SECS_MAX => Ok(asked_secs),
        outside => {
            let text = format!(
                "inactive_expiry is {INACTIVE_EXPIRY_SECS_MIN} to {INACTIVE_EXPIRY_SECS_MAX} seconds, not {outside}"
            );
            Err(Fault::new(Code::BadExpiry, text).with_value(outside))
        }
    }
}

/// Where a new incarnation begins, taken before the registry entry is proposed: from there on delivery is guaranteed.
async fn starts(broker: &Broker, start: Start) -> Result<Vec<Cursor>, Fault> {
    let offsets: Vec<Option<Offset>> = match start {
        Start::Earliest => broker.partitions.bounds().await.into_iter().map(|bounds| Some(bounds?.head)).collect(),
        // A replica's tail may be below the true one, and then more is delivered than was asked for, never less.
        Start::Latest => broker.partitions.tails().await,
        Start::Time(wall) => {
            let found =
                broker.partitions.ids().map(|id| async move { broker.partitions.way(id).offset_at(wall).await });
            try_join_all(found).await?.into_iter().map(Some).collect()
        }
    };
    let epoch = broker.epochs.current();
    let cursor = |offset: Option<Offset>| offset.map(|offset| Cursor { epoch, offset }).ok_or_else(not_known_now);
    offsets.into_iter().map(cursor).collect()
}

/// Where some partition begins and ends is not known here, and could not be learnt in time.
pub(super) fn not_known_now() -> Fault {
    let text = "a partition has no replica within reach of this broker";
    Fault::retry_after(Code::RetryAfter, NOT_KNOWN_RETRY_MS, text)
}
