//! A request's place in a trace, as `traceparent` and `traceresponse` say it.
//!
//! Source: W3C Trace Context, level 2. A header that is not valid is as none, as the standard wants.

use std::fmt::Write as _;

use ureq::http::HeaderMap;
use uuid::Uuid;

/// The header of a request that names its caller's place.
const TRACEPARENT: &str = "traceparent";

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trace: 32 hex digits.
    pub trace: String,
    /// This step of it: 16 hex digits.
    pub step: String,
    /// The step that called for it; none for a trace's first.
    pub parent: Option<String>,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl Place {
    /// A new step of the trace that a request's headers name; none if they name none.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        // Two of them cannot both be right.
        let (said, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
        Self::below(said)
    }

    /// A new step of the trace that a [`TRACEPARENT`] names.
    fn below(said: &str) -> Option<Self> {
        let parts: Vec<&str> = said.trim().split('-').collect();
        let [version, trace, parent, flags, rest @ ..] = parts.as_slice() else { return None };
        let is_known = is_hex(version, 2) && *version != "ff" && (*version != "00" || rest.is_empty());
        let is_named = |text: &str, len: usize| is_hex(text, len) && text.bytes().any(|byte| byte != b'0');
        if !(is_known && is_named(trace, 32) && is_named(parent, 16) && is_hex(flags, 2)) {
            return None;
        }
        let is_sampled = u8::from_str_radix(flags, 16).unwrap_or(0) & 1 == 1;
        Some(Self {
            trace: (*trace).to_owned(),
            step: new_step(),
            parent: Some((*parent).to_owned()),
            is_sampled,
        })
    }

    /// The first step of a new trace, which is recorded with this probability: the trace's id decides.
    #[must_use]
    pub fn first(ratio: f64) -> Self {
        let trace = Uuid::now_v7();
        // The last four bytes are random; those before them count.
        let [.., a, b, c, d] = *trace.as_bytes();
        let is_sampled = f64::from(u32::from_be_bytes([a, b, c, d])) < ratio * 2f64.powi(32);
        Self { trace: hex(trace.as_bytes()), step: new_step(), parent: None, is_sampled }
    }

    /// A step that this one calls for.
    #[must_use]
    pub fn inner(&self) -> Self {
        Self { step: new_step(), parent: Some(self.step.clone()), ..self.clone() }
    }

    /// What `traceresponse` says.
    #[must_use]
    pub fn response(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.step, u8::from(self.is_sampled))
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random, and never all zeros: a bit of every UUID is set in this half.
fn new_step() -> String {
    hex(&Uuid::now_v7().as_bytes()[8..])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn check(said: &str, expect: Option<bool>) {
        let found = Place::below(said);
        assert_eq!(found.as_ref().map(|place| place.is_sampled), expect, "{said}");
        if let Some(place) = found {
            assert_eq!((place.trace.as_str(), place.parent.as_deref()), (TRACE, Some(PARENT)));
            assert!(place.step != PARENT && is_hex(&place.step, 16), "{}", place.step);
        }
    }

    #[test]
    fn only_a_valid_traceparent_counts() {
        check(&format!("00-{TRACE}-{PARENT}-01"), Some(true));
        check(&format!(" 00-{TRACE}-{PARENT}-00 "), Some(false));
        check(&format!("01-{TRACE}-{PARENT}-03-what-comes-later"), Some(true));
        check(&format!("00-{TRACE}-{PARENT}-01-x"), None);
        check(&format!("ff-{TRACE}-{PARENT}-01"), None);
        check(&format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{}-{PARENT}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(&format!("00-{TRACE}-{PARENT}"), None);
        check(&format!("00-{TRACE}x-{PARENT}-01"), None);
        check("", None);
    }

    #[test]
    fn two_names_are_none() {
        let said: ureq::http::HeaderValue = format!("00-{TRACE}-{PARENT}-01").parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, said.clone());
        assert!(Place::of(&headers).is_some());
        headers.append(TRACEPARENT, said);
        assert_eq!(Place::of(&headers), None);
    }

    #[test]
    fn an_answer_names_the_trace_and_this_step() {
        let place = Place::below(&format!("00-{TRACE}-{PARENT}-ff")).unwrap();
        // Only the flag for being sampled is for others to take over.
        assert_eq!(place.response(), format!("00-{TRACE}-{}-01", place.step));
        let inner = place.inner();
        assert_eq!((&inner.trace, inner.parent.as_ref()), (&place.trace, Some(&place.step)));
        assert_ne!(inner.step, place.step);
    }

    #[test]
    fn traces_are_sampled_about_as_often_as_asked() {
        let sampled = |ratio: f64| (0..4_000).filter(|_| Place::first(ratio).is_sampled).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 4_000));
        let quarter = sampled(0.25);
        // Six standard deviations.
        assert!((836..=1_164).contains(&quarter), "{quarter}");
    }
}
