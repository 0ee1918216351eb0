//! Calls to the control plane, repeated while it is away: a server that restarts must not cost a run.

use std::time::Duration;

use edgeward_api::ClientError;

/// Most attempts of one call.
pub const ATTEMPTS_MAX: u32 = 7;
/// Wait after the first attempt; doubled after each further one, about 25 s in all.
pub const FIRST_WAIT: Duration = Duration::from_millis(400);

/// Calls until there is an answer, one that trying again cannot change, or [`ATTEMPTS_MAX`] is reached.
pub(crate) fn patiently<T>(call: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    patiently_with(std::thread::sleep, call)
}

fn patiently_with<T>(
    mut sleep: impl FnMut(Duration),
    mut call: impl FnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS_MAX {
        match call() {
            Err(error) if error.is_transient() => sleep(wait),
            answer => return answer,
        }
        wait *= 2;
    }
    call()
}

#[cfg(test)]
mod tests {
    use edgeward_api::Problem;

    use super::*;

    fn refused(status: u16) -> ClientError {
        ClientError::Refused {
            address: String::new(),
            status,
            retry_after_s: None,
            problem: Problem::new("x", "x"),
        }
    }

    fn attempts(status: u16) -> (u32, Duration) {
        let (mut calls, mut slept) = (0, Duration::ZERO);
        let answer: Result<(), _> = patiently_with(
            |wait| slept += wait,
            || {
                calls += 1;
                Err(refused(status))
            },
        );
        assert!(answer.is_err());
        (calls, slept)
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(attempts(409), (1, Duration::ZERO));
        assert_eq!(attempts(503), (ATTEMPTS_MAX, FIRST_WAIT * 63));
    }
}
