//! Who posts: the token of a client, as RFC 6750 has it.

use std::borrow::Cow;

use anyport_protocol::{Code, Fault};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

/// The token of a request: in the header `Authorization`, else in the URL. The latter is for senders of webhooks that can be given a URL
/// and nothing else; CloudEvents asks receivers to take both.
pub(super) fn of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Result<Cow<'a, str>, Fault> {
    let wanted = |code| {
        Fault::new(code, "say who you are: `Authorization: Bearer TOKEN`; the command `anyport token` prints the token")
    };
    if let Some(value) = headers.get(AUTHORIZATION) {
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        return match bearer {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_ascii().into()),
            _ => Err(wanted(Code::BadToken)),
        };
    }
    let mut parameters = uri.query().into_iter().flat_map(|query| query.split('&'));
    let token = parameters.find_map(|parameter| parameter.strip_prefix("access_token="));
    token.map(|token| percent_decode_str(token).decode_utf8_lossy()).ok_or_else(|| wanted(Code::NotLoggedIn))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn token(uri: &str, authorization: Option<&str>) -> Result<String, Code> {
        let mut request = Request::builder().uri(uri);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(()).expect("a request");
        of(request.headers(), request.uri()).map(Cow::into_owned).map_err(|fault| fault.code().expect("our own"))
    }

    #[test]
    fn a_token_comes_in_the_header_or_in_the_url() {
        assert_eq!(token("/events", Some("Bearer v4.public.a-_b")), Ok("v4.public.a-_b".into()));
        assert_eq!(token("/events", Some("bearer  t ")), Ok("t".into()));
        assert_eq!(token("/events?a=b&access_token=v4.public.a%2Db&c", None), Ok("v4.public.a-b".into()));
        assert_eq!(token("/events?access_token=url", Some("Bearer header")), Ok("header".into()));
    }

    #[test]
    fn no_token_and_another_scheme_are_told_apart() {
        assert_eq!(token("/events", None), Err(Code::NotLoggedIn));
        assert_eq!(token("/events?token=t", None), Err(Code::NotLoggedIn));
        for other in ["Basic dXNlcg==", "Bearer", "", "v4.public.a"] {
            assert_eq!(token("/events?access_token=t", Some(other)), Err(Code::BadToken), "{other}");
        }
    }
}
