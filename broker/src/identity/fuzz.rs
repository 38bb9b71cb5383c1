//! Tokens of any bytes, and tokens of any claims under a good signature.

use std::sync::LazyLock;

use super::{ClientId, ClusterId, PublicToken, TokenAuthority, TokenError, Verified, WallMs};
use crate::fuzz::Outcome;

const CLUSTER: ClusterId = ClusterId([1; 16]);
const CLIENT: ClientId = ClientId([1; 16]);
const NOW: WallMs = WallMs(1_000_000);

static AUTHORITY: LazyLock<TokenAuthority> =
    LazyLock::new(|| TokenAuthority::new(CLUSTER, &TokenAuthority::generate_key()).expect("own key"));
static GENUINE: LazyLock<String> = LazyLock::new(|| AUTHORITY.issue(CLIENT, NOW).0);

/// The first byte says what follows: the text of a token, claims to be signed, or a key.
pub(crate) fn token(bytes: &[u8]) -> Outcome {
    let verified = match bytes {
        [b'c', claims @ ..] => {
            let signed = PublicToken::sign(&AUTHORITY.secret, claims, None, None);
            signed.map_err(|_| TokenError::Bad).and_then(|token| AUTHORITY.verify(&token, NOW))
        }
        [b'k', key @ ..] => {
            let Ok(other) = TokenAuthority::new(CLUSTER, key) else { return Outcome::of(&"no key") };
            AUTHORITY.verify(&other.issue(CLIENT, NOW).0, NOW)
        }
        [_, text @ ..] => {
            let verified = AUTHORITY.verify(&String::from_utf8_lossy(text), NOW);
            // Nobody but who has the key can say anything else in it.
            let genuine = |verified: &Verified| verified.client == CLIENT && verified.issued == NOW;
            assert!(verified.as_ref().is_ok_and(genuine) || verified == Err(TokenError::Bad), "{verified:?}");
            verified
        }
        [] => return Outcome::of(&"nothing"),
    };
    if let Ok(verified) = &verified {
        assert!(verified.expires > NOW);
        verified.past_half_life(WallMs(u64::MAX));
    }
    let form = [b'c', b'k'].iter().position(|form| bytes.starts_with(&[*form]));
    Outcome::of_result(&verified).and(Outcome::exactly(form))
}

pub(crate) fn tokens() -> Vec<Vec<u8>> {
    let claims = format!(r#"{{"sub":"{CLIENT}","cluster":"{CLUSTER}","iat":1000000,"exp":2000000}}"#);
    let key = TokenAuthority::generate_key();
    vec![[b"t", GENUINE.as_bytes()].concat(), [b"c", claims.as_bytes()].concat(), [&b"k"[..], &key].concat()]
}
