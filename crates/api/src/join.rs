//! What a join token says beside its secret: whom to believe at first contact, and a time that is surely past.
//!
//! A token of a control plane with its own certificate authority is `ewj_<secret>_<authority>_<made at>`: 64 hex digits
//! of secret, the SHA-256 of the authority's certificate in 64 hex digits, and seconds since 1970. A token of one
//! without TLS, or with a certificate that any computer believes, is `ewj_<secret>`.

use edgeward_core::{Digest, Timestamp};

/// Whom a device believes when it joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinPin {
    /// SHA-256 of the authority's certificate.
    pub authority: Digest,
    /// When the token was made: no clock that is right stands before it.
    pub made_at: Timestamp,
}

impl JoinPin {
    /// What `token` pins; none if it pins nothing.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let mut parts = token.trim().split('_').skip(2);
        let (authority, made_at) = (parts.next()?, parts.next()?);
        let seconds: i64 = made_at.parse().ok()?;
        let authority = Digest::from_hex(authority).ok()?;
        parts.next().is_none().then_some(Self { authority, made_at: Timestamp(seconds.checked_mul(1000)?) })
    }

    /// The token with this secret, such as `ewj_...`.
    #[must_use]
    pub fn token(&self, secret: &str) -> String {
        format!("{secret}_{}_{}", self.authority.hex(), self.made_at.0.div_euclid(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whom_to_believe() {
        let pin = JoinPin { authority: Digest::of(b"certificate"), made_at: Timestamp(1_700_000_000_000) };
        assert_eq!(JoinPin::of(&pin.token("ewj_00ff")), Some(pin));
        assert_eq!(JoinPin::of(&format!(" {}\n", pin.token("ewj_00ff"))), Some(pin));
        let hex = pin.authority.hex();
        for none in
            ["", "ewj", "ewj_00ff", "ewj_00ff_zz_1", &format!("ewj_0_{hex}"), &format!("ewj_0_{hex}_x")]
        {
            assert_eq!(JoinPin::of(none), None, "{none}");
        }
        assert_eq!(JoinPin::of(&format!("ewj_0_{hex}_1_2")), None);
        assert_eq!(JoinPin::of(&format!("ewj_0_{hex}_{}", i64::MAX)), None);
    }
}
