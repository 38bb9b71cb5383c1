//! Draining a broker and waiting for it. It ends as soon as it has nothing left, so whoever waits does not depend on it.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::super::exit::{Exit, Failure};
use super::super::tell::note;
use super::args::Reach;
use super::health::{drain_told, drain_warning};
use crate::admin::{Operator, OperatorError};
use crate::protocol::BrokerId;
use crate::protocol::message::admin::ClusterStatus;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says each step of it. Ends with an error if somebody takes the wish back, or gives the broker up before it is empty.
pub(super) async fn drain_and_wait(reach: &Reach, broker: BrokerId) -> Result<(), Failure> {
    let mut lookout = Lookout { reach, operator: reach.connect().await?, broker, others: Vec::new() };
    // Before it is asked for: a broker that is empty already ends at once.
    warn(&lookout.status().await?, broker);
    lookout.operator.drain(broker, true).await?;
    let mut last = String::new();
    loop {
        let status = lookout.status().await?;
        let Some(told) = progress(&status, broker)? else { return Ok(()) };
        if told != last {
            note("draining", &told, json!({ "replicas": status.replicas_of(broker), "leads": status.leads(broker) }));
            last = told;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Says what the drain costs, where it costs something.
pub(super) fn warn(status: &ClusterStatus, broker: BrokerId) {
    if let Some(warning) = drain_warning(status, broker) {
        note("warning", &warning, json!({}));
    }
}

/// What is left to be done, in words; None when nothing is.
fn progress(status: &ClusterStatus, broker: BrokerId) -> Result<Option<String>, Failure> {
    let Some(record) = status.broker(broker) else {
        // One that was removed because it was empty has left nothing behind.
        if status.is_drained(broker) {
            return Ok(None);
        }
        let text = format!("broker {broker} was given up before it was empty; what it had is rebuilt from the others");
        return Err(Failure::new(Exit::Failed, text, "look how far that is: anyport admin status"));
    };
    if !record.draining {
        let text = format!("broker {broker} is not to be drained any more: somebody has taken it back");
        return Err(Failure::new(Exit::Failed, text, format!("anyport admin drain {broker}")));
    }
    Ok((!status.is_drained(broker)).then(|| drain_told(status, record)))
}

/// Where the others are that can say how it goes on.
fn others(status: &ClusterStatus, broker: BrokerId) -> impl Iterator<Item = String> {
    let others = status.brokers.iter().filter(move |other| other.broker != broker && other.away_for_ms.is_none());
    others.map(|other| other.peer_address.clone())
}

struct Lookout<'a> {
    reach: &'a Reach,
    operator: Operator,
    /// Whose end is waited for.
    broker: BrokerId,
    /// Whom to ask when the one that is asked ends. Empty before the first answer.
    others: Vec<String>,
}

impl Lookout<'_> {
    async fn status(&mut self) -> Result<ClusterStatus, OperatorError> {
        let status = match self.operator.status().await {
            Err(OperatorError::Unreachable { .. }) if !self.others.is_empty() => {
                self.operator = Operator::connect(&self.reach.cluster, &self.others).await?;
                self.operator.status().await?
            }
            answered => answered?,
        };
        let is_first = self.others.is_empty();
        // Those that were named come last: they may include the broker itself, and may be all that is reached from here.
        self.others = others(&status, self.broker).chain(self.reach.peer.iter().cloned()).collect();
        if is_first && status.answered_by == self.broker {
            // Where nobody else is reached from here, it tells itself how far it is for as long as it runs.
            if let Ok(other) = Operator::connect(&self.reach.cluster, &self.others).await {
                self.operator = other;
            }
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample::{away, cluster};
    use crate::protocol::ReplicaId;

    const LEAVING: BrokerId = BrokerId(3);

    /// Broker 3 has a replica of the metadata that does not vote, and with it nothing that is missed.
    fn draining() -> ClusterStatus {
        let mut status = cluster(4, 2);
        status.brokers[3].draining = true;
        status
    }

    fn removed(mut status: ClusterStatus) -> ClusterStatus {
        status.brokers.pop();
        status
    }

    #[test]
    fn a_broker_is_drained_when_it_has_nothing_left_and_also_when_it_is_gone_by_then() {
        let mut status = draining();
        assert_eq!(progress(&status, LEAVING).expect("goes on"), None);
        assert_eq!(progress(&removed(status.clone()), LEAVING).expect("goes on"), None);
        status.brokers[0].draining = true;
        let told = progress(&status, BrokerId(0)).expect("goes on").expect("it has replicas");
        assert!(told.starts_with("broker 0 is draining: 7 replicas left"), "{told}");
    }

    #[test]
    fn who_waits_is_told_when_it_was_taken_back_or_the_broker_was_given_up_before() {
        let taken_back = progress(&cluster(4, 2), LEAVING).expect_err("nobody drains it");
        assert!(taken_back.text().contains("taken it back"), "{}", taken_back.text());
        let mut status = draining();
        status.groups[1].replicas[2].replica = ReplicaId::new(LEAVING, 7);
        let given_up = progress(&removed(status), LEAVING).expect_err("its copy is missing");
        assert!(given_up.text().contains("before it was empty"), "{}", given_up.text());
    }

    #[test]
    fn those_are_asked_that_stay_and_are_there() {
        let mut status = draining();
        away(&mut status, 1, 1_000);
        assert_eq!(others(&status, LEAVING).collect::<Vec<_>>(), ["10.0.0.0:7401", "10.0.0.2:7401"]);
    }
}
