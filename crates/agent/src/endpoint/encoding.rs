//! Compressed bodies: `Content-Encoding` of requests, and of answers to those who ask with `Accept-Encoding`.
//!
//! What a body unpacks to is under the same limit as a plain one, so a small body that would fill the memory is refused
//! while it is unpacked. Answers are compressed at the fastest level, and only from [`ANSWER_BYTES_MIN`] on: on a device's own
//! machine bytes cost less than the processor. Errors are never compressed, since clients read them without looking.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};

use axum::http::{HeaderMap, StatusCode, header};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

use super::{BODY_BYTES_MAX, Refusal};

/// Smallest answer that is compressed.
pub(super) const ANSWER_BYTES_MIN: usize = 1024;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, as HTTP means it.
    Deflate,
}

impl Encoding {
    /// The name in the headers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate].into_iter().find(|encoding| encoding.as_str().eq_ignore_ascii_case(name))
    }

    /// The packed form.
    pub(super) fn pack(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let packed = Vec::with_capacity(bytes.len() / 2);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(packed, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(packed, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }

    fn unpack(self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut plain = Vec::new();
        let most = BODY_BYTES_MAX as u64 + 1;
        let read = match self {
            Self::Gzip => MultiGzDecoder::new(bytes).take(most).read_to_end(&mut plain),
            Self::Deflate => ZlibDecoder::new(bytes).take(most).read_to_end(&mut plain),
        };
        read.map_err(|error| {
            Refusal::bad_request(format!("the body is not {} as its header says: {error}", self.as_str()))
        })?;
        if plain.len() > BODY_BYTES_MAX {
            let error =
                format!("the body unpacks to over {BODY_BYTES_MAX} bytes; send fewer rows per request");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        Ok(plain)
    }
}

/// The body as it was before it was packed.
pub(super) fn plain<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Refusal> {
    let Some(said) = headers.get(header::CONTENT_ENCODING) else { return Ok(body.into()) };
    let said = said.to_str().unwrap_or("?").trim();
    if said.eq_ignore_ascii_case("identity") {
        return Ok(body.into());
    }
    let encoding = Encoding::named(said).ok_or_else(|| {
        let said: String = said.chars().take(40).collect();
        let error =
            format!("bodies with the content encoding '{said}' are not read; send gzip, deflate or none");
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
    })?;
    encoding.unpack(body).map(Cow::Owned)
}

/// How an answer may be packed; none if the caller does not ask.
pub(super) fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    let mut best: Option<(f32, Encoding)> = None;
    for said in headers.get_all(header::ACCEPT_ENCODING) {
        for offer in said.to_str().unwrap_or_default().split(',') {
            let (name, weight) = weighed(offer);
            let Some(encoding) = Encoding::named(name) else { continue };
            if weight > best.map_or(0.0, |(weight, _)| weight) {
                best = Some((weight, encoding));
            }
        }
    }
    best.map(|(_, encoding)| encoding)
}

/// An offer's name and its weight; 1 if it says none, 0 if that is no number.
fn weighed(offer: &str) -> (&str, f32) {
    let (name, rest) = offer.split_once(';').unwrap_or((offer, ""));
    let weight = match rest.trim().strip_prefix("q=") {
        Some(weight) => weight.trim().parse().unwrap_or(0.0),
        None => 1.0,
    };
    (name.trim(), weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let body = b"{\"inputs\": []}".repeat(100);
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let packed = encoding.pack(&body).unwrap();
            assert!(packed.len() < body.len() / 4);
            let said = headers(header::CONTENT_ENCODING, encoding.as_str());
            assert_eq!(plain(&said, &packed).unwrap(), body);
            let cut = plain(&said, &packed[..packed.len() / 2]).unwrap_err();
            assert!(cut.error.contains("as its header says"), "{}", cut.error);
        }
        assert_eq!(plain(&HeaderMap::new(), &body).unwrap(), body);
        let unknown = plain(&headers(header::CONTENT_ENCODING, "br"), &body).unwrap_err();
        assert!(unknown.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && unknown.error.contains("'br'"));
    }

    #[test]
    fn a_body_that_would_fill_the_memory_is_refused() {
        let at_limit = vec![b' '; BODY_BYTES_MAX];
        let over = vec![b' '; BODY_BYTES_MAX + 1];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let said = headers(header::CONTENT_ENCODING, encoding.as_str());
            assert_eq!(plain(&said, &encoding.pack(&at_limit).unwrap()).unwrap().len(), BODY_BYTES_MAX);
            let refused = plain(&said, &encoding.pack(&over).unwrap()).unwrap_err();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[test]
    fn the_answer_is_packed_as_the_caller_likes_best() {
        let check = |said: &str, expect: Option<Encoding>| {
            assert_eq!(accepted(&headers(header::ACCEPT_ENCODING, said)), expect, "{said}");
        };
        check("gzip", Some(Encoding::Gzip));
        check("deflate, gzip", Some(Encoding::Deflate));
        check("br, gzip;q=0.5, deflate;q=0.8", Some(Encoding::Deflate));
        check("gzip;q=0", None);
        check("identity", None);
        check("", None);
        check("gzip;q=x", None);
    }
}
