//! Asking a broker about its cluster, and telling it what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyport_protocol::map::Selection;
use anyport_protocol::message::admin::{
    AdminAnswer, AdminQuestion, ClusterStatus, ClusterStatusQuestion, DrainQuestion, RecoverPlan, RecoverPlanQuestion,
    RecoverQuestion, RemoveQuestion, SelectQuestion, ShapeQuestion,
};
use anyport_protocol::{BrokerId, Fault};

use crate::net::{ConnectError, OperatorConnection, OperatorIdentity};

/// For each address: a broker that is there answers at once, and there are others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A change waits until the cluster has it for good.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("{path} is no operator's bundle: {reason}")]
    BadBundle { path: PathBuf, reason: String },
    /// None of those that were named.
    #[error("no answer from {peers}; last: {last}")]
    Unreachable { peers: String, last: String },
    /// Either side does not take the other's certificate.
    #[error("{peer} and this operator do not trust each other: {reason}")]
    Certificate { peer: String, reason: String },
    #[error("{0}")]
    Refused(Fault),
    #[error("{peer} answered what was not asked: {what}")]
    Unexpected { peer: String, what: String },
}

/// A connection to one broker of the cluster, by which the whole cluster can be asked and commanded.
#[derive(Debug)]
pub struct Operator {
    peer: String,
    connection: OperatorConnection,
}

impl Operator {
    /// To the first of these that answers. The bundle is what `anyport admin cluster-init` calls `admin.pem`.
    pub async fn connect(bundle: &Path, peers: &[String]) -> Result<Self, OperatorError> {
        let bad = |reason: String| OperatorError::BadBundle { path: bundle.to_owned(), reason };
        let pem = std::fs::read(bundle).map_err(|error| bad(error.to_string()))?;
        let identity = OperatorIdentity::of_bundle(&pem).map_err(bad)?;
        let unreachable = |last: String| OperatorError::Unreachable { peers: peers.join(", "), last };
        let mut trouble = unreachable("none is named".to_owned());
        for peer in peers {
            match OperatorConnection::connect(peer, &identity, CONNECT_TIMEOUT).await {
                Ok(connection) => return Ok(Self { peer: peer.clone(), connection }),
                Err(ConnectError::Certificate(reason)) => {
                    trouble = OperatorError::Certificate { peer: peer.clone(), reason };
                }
                Err(error) => trouble = unreachable(error.to_string()),
            }
        }
        Err(trouble)
    }

    pub async fn status(&self) -> Result<ClusterStatus, OperatorError> {
        match self.ask(ClusterStatusQuestion {}).await? {
            AdminAnswer::ClusterStatus(status) => Ok(status),
            other => Err(self.unexpected(other.name())),
        }
    }

    /// Asks to empty a broker of its replicas, or takes that back.
    pub async fn drain(&self, broker: BrokerId, draining: bool) -> Result<(), OperatorError> {
        self.change(DrainQuestion { broker, draining }).await
    }

    /// Gives up a broker that is away, for good.
    pub async fn remove(&self, broker: BrokerId) -> Result<(), OperatorError> {
        self.change(RemoveQuestion { broker }).await
    }

    pub async fn recover_plan(&self) -> Result<RecoverPlan, OperatorError> {
        match self.ask(RecoverPlanQuestion {}).await? {
            AdminAnswer::RecoverPlan(plan) => Ok(plan),
            other => Err(self.unexpected(other.name())),
        }
    }

    /// Does what the plan says. What only the lost replicas had is given up.
    pub async fn recover(&self, plan: &RecoverPlan) -> Result<(), OperatorError> {
        self.change(RecoverQuestion { token: plan.token.clone() }).await
    }

    /// Changes how clients see a service of the brokers.
    pub async fn shape(&self, question: ShapeQuestion) -> Result<(), OperatorError> {
        self.change(question).await
    }

    /// Tells clients this part of the map from now on.
    pub async fn select(&self, selection: Selection) -> Result<(), OperatorError> {
        self.change(SelectQuestion { selection }).await
    }

    async fn change(&self, question: impl Into<AdminQuestion>) -> Result<(), OperatorError> {
        match self.ask(question).await? {
            AdminAnswer::Done(_) => Ok(()),
            other => Err(self.unexpected(other.name())),
        }
    }

    async fn ask(&self, question: impl Into<AdminQuestion>) -> Result<AdminAnswer, OperatorError> {
        let mut frame = Vec::new();
        question.into().encode(1, &mut frame);
        let peer = || self.peer.clone();
        let answered = self.connection.ask(&frame, ANSWER_TIMEOUT).await.map_err(|error| match error {
            ConnectError::Certificate(reason) => OperatorError::Certificate { peer: peer(), reason },
            other => OperatorError::Unreachable { peers: peer(), last: other.to_string() },
        });
        let (header, body) = answered?;
        match AdminAnswer::decode(header.message_type, &body) {
            Ok(AdminAnswer::Refused(refused)) => Err(OperatorError::Refused(refused.fault)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.unexpected(&error.to_string())),
        }
    }

    fn unexpected(&self, what: &str) -> OperatorError {
        OperatorError::Unexpected { peer: self.peer.clone(), what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CERTIFICATE_VALID, ClusterAuthority, write_new};
    use super::*;

    #[tokio::test]
    async fn what_is_no_bundle_is_told_before_anybody_is_asked() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let authority = ClusterAuthority::generate().expect("made");
        let good = authority.admin_bundle(CERTIFICATE_VALID).expect("made");
        let key = good.find("-----BEGIN PRIVATE KEY").expect("a key");
        let cases = [
            ("nothing", "", "no certificate"),
            ("no-key", &good[..key], "no key"),
            ("ca", authority.certificate_pem(), "no certificate with its authority's"),
            ("other-key", &format!("{}{}", &good[..key], authority.key_pem()), "do not belong together"),
        ];
        for (name, text, reason) in cases {
            let path = folder.path().join(name);
            write_new(&path, text).expect("written");
            let refused = Operator::connect(&path, &["127.0.0.1:1".to_owned()]).await.expect_err("no bundle");
            assert!(matches!(&refused, OperatorError::BadBundle { .. }), "{name}: {refused}");
            assert!(refused.to_string().contains(reason), "{name}: {refused}");
        }
        assert!(OperatorIdentity::of_bundle(good.as_bytes()).is_ok());
    }
}
