//! Who a client is: a Client-ID and a token that says so, signed once and verified offline by every broker of the cluster.
//!
//! Tokens are PASETO v4.public (Ed25519): one algorithm, so none to confuse. The payload is JSON:
//! `{"sub": client id, "cluster": cluster id, "iat": ms, "exp": ms}`.

#[cfg(test)]
pub(crate) mod fuzz;

use anyport_protocol::{ClientId, ClusterId, Code, Fault, WallMs};
use pasetors::Public;
use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::{Deserialize, Serialize};

/// How long a token is good. A client that logs in during the second half of it is given a fresh one, so only an identity that
/// has been away for longer than half of this needs its owner.
pub const TOKEN_LIFE_MS: u64 = 2 * 365 * 24 * 3600 * 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    cluster: String,
    iat: u64,
    exp: u64,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not one of this cluster's")]
    Bad,
    #[error("the token expired at {expired:?}")]
    Expired { expired: WallMs },
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::Bad => Code::BadToken,
            TokenError::Expired { .. } => Code::TokenExpired,
        };
        Fault::new(code, error.to_string())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the stored token key is damaged")]
pub struct BadKey;

/// What a genuine token says.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    pub client: ClientId,
    pub issued: WallMs,
    pub expires: WallMs,
}

impl Verified {
    pub fn past_half_life(&self, now: WallMs) -> bool {
        now.0 > self.issued.0.midpoint(self.expires.0)
    }
}

/// Signs and verifies tokens of one cluster.
pub struct TokenAuthority {
    cluster: ClusterId,
    secret: AsymmetricSecretKey<V4>,
    public: AsymmetricPublicKey<V4>,
}

impl std::fmt::Debug for TokenAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenAuthority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl TokenAuthority {
    /// The bytes of a new signing key, to be kept in the store.
    pub fn generate_key() -> Vec<u8> {
        let pair =
            AsymmetricKeyPair::<V4>::generate().expect("the system's random source works, or TLS would not either");
        pair.secret.as_bytes().to_vec()
    }

    pub fn new(cluster: ClusterId, key: &[u8]) -> Result<Self, BadKey> {
        // An Ed25519 secret key ends with its public half.
        let public = key.last_chunk::<32>().ok_or(BadKey)?;
        Ok(Self {
            cluster,
            secret: AsymmetricSecretKey::from(key).map_err(|_| BadKey)?,
            public: AsymmetricPublicKey::from(public).map_err(|_| BadKey)?,
        })
    }

    pub fn issue(&self, client: ClientId, now: WallMs) -> (String, WallMs) {
        self.issue_until(client, now, WallMs(now.0 + TOKEN_LIFE_MS))
    }

    fn issue_until(&self, client: ClientId, now: WallMs, expires: WallMs) -> (String, WallMs) {
        let claims = Claims { sub: client.to_string(), cluster: self.cluster.to_string(), iat: now.0, exp: expires.0 };
        let payload = serde_json::to_vec(&claims).expect("claims are strings and numbers");
        let token =
            PublicToken::sign(&self.secret, &payload, None, None).expect("the key was checked when it was loaded");
        (token, expires)
    }

    pub fn verify(&self, token: &str, now: WallMs) -> Result<Verified, TokenError> {
        let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(|_| TokenError::Bad)?;
        let trusted = PublicToken::verify(&self.public, &untrusted, None, None).map_err(|_| TokenError::Bad)?;
        let claims: Claims = serde_json::from_str(trusted.payload()).map_err(|_| TokenError::Bad)?;
        if claims.cluster != self.cluster.to_string() {
            return Err(TokenError::Bad);
        }
        let client = claims.sub.parse().map_err(|_| TokenError::Bad)?;
        if now.0 >= claims.exp {
            return Err(TokenError::Expired { expired: WallMs(claims.exp) });
        }
        Ok(Verified { client, issued: WallMs(claims.iat), expires: WallMs(claims.exp) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId([1; 16]);
    const NOW: WallMs = WallMs(1_000_000);

    fn authority(cluster: u8) -> TokenAuthority {
        TokenAuthority::new(ClusterId([cluster; 16]), &TokenAuthority::generate_key()).expect("own key")
    }

    #[test]
    fn a_token_names_its_client_until_it_expires() {
        let authority = authority(1);
        let (token, expires) = authority.issue(CLIENT, NOW);
        assert_eq!(authority.verify(&token, NOW), Ok(Verified { client: CLIENT, issued: NOW, expires }));
        assert_eq!(authority.verify(&token, expires), Err(TokenError::Expired { expired: expires }));
    }

    #[test]
    fn a_token_of_another_key_or_cluster_is_refused() {
        let ours = authority(1);
        let (foreign, _) = authority(1).issue(CLIENT, NOW);
        assert_eq!(ours.verify(&foreign, NOW), Err(TokenError::Bad));
        let same_key =
            TokenAuthority { cluster: ClusterId([2; 16]), secret: ours.secret.clone(), public: ours.public.clone() };
        let (other_cluster, _) = same_key.issue(CLIENT, NOW);
        assert_eq!(ours.verify(&other_cluster, NOW), Err(TokenError::Bad));
    }

    #[test]
    fn a_forged_token_is_refused_at_every_byte() {
        let authority = authority(1);
        let (token, _) = authority.issue(CLIENT, NOW);
        for place in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            assert!(authority.verify(&forged, NOW).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_token_is_renewed_in_the_second_half_of_its_life() {
        let authority = authority(1);
        let (token, expires) = authority.issue(CLIENT, NOW);
        let verified = authority.verify(&token, NOW).expect("fresh");
        assert!(!verified.past_half_life(NOW));
        assert!(verified.past_half_life(WallMs(expires.0 - 1)));
    }
}
