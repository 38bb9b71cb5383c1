//! What an operator and a broker say to each other, on the port where brokers meet.
//!
//! The operator shows a certificate of the cluster and opens one bidirectional stream for each question: one frame goes there, one
//! comes back. Bodies are MessagePack maps with named fields, as on a client's control stream. [`AdminQuestion`] and [`AdminAnswer`]
//! list what can be said; a question that a broker does not know is refused by name and version.

mod map;
mod recovery;
mod status;

use serde::{Deserialize, Serialize};

use crate::BrokerId;

pub use map::{SelectQuestion, ShapeQuestion};
pub use recovery::{GroupRecovery, RecoverPlan, RecoverPlanQuestion, RecoverQuestion, Survivor};
pub use status::{
    BrokerStatus, ClusterStatus, ClusterStatusQuestion, GroupName, GroupStatus, RemovedBroker, ReplicaRole,
    ReplicaState, ReplicaStatus,
};

pub use super::{AdminAnswer, AdminQuestion, Refused};

/// Agreed on in the TLS handshake.
pub const ADMIN_ALPN: &[u8] = b"anyport-admin/1";

/// The DNS name that tells a broker's certificate, beside the names of its hosts.
pub const BROKER_NAME: &str = "broker.anyport.internal";

/// The DNS name that tells an operator's certificate.
pub const ADMIN_NAME: &str = "admin.anyport.internal";

/// Asks to empty a broker of its replicas, after which it ends and is removed without a copy being missed; or to let it have some again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainQuestion {
    pub broker: BrokerId,
    /// False takes an earlier wish back.
    pub draining: bool,
}

/// Asks to give up a broker that is away, sooner than the cluster would by itself. It never comes back under its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveQuestion {
    pub broker: BrokerId,
}

/// What was asked for is decided, and remembered by the cluster. It may take its time to be carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {}
