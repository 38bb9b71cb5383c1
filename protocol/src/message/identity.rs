use serde::{Deserialize, Serialize};

use crate::{ClientId, WallMs};

/// Asks for a new identity. The answer's token is the identity: whoever holds it is the client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Register {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    pub client: ClientId,
    pub token: String,
    pub expires: WallMs,
}

/// Says who the connection is, by a token that any broker of the cluster verifies offline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login {
    pub token: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedIn {
    pub client: ClientId,
    pub expires: WallMs,
    /// A fresh token, when the old one has used up half its life.
    #[serde(default)]
    pub renewed: Option<String>,
}
