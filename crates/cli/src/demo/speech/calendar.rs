//! Who speaks in which week: at first the accent that the model learned, in the end only others.

/// Weeks that the story lasts.
pub(super) const WEEKS: u32 = 26;
/// The last weeks, whose mean tells how it ended.
pub(super) const LAST_WEEKS: usize = 4;
/// The accent that the first model learns.
pub(super) const HOME: &str = "us";
/// The other accents, and the week in which each is heard for the first time.
const ARRIVALS: [(&str, u32); 6] =
    [("french", 5), ("brazilian", 8), ("russian", 10), ("japanese", 12), ("korean", 14), ("turkish", 16)];
/// The last week without another accent, and the first with nothing else.
const QUIET_UNTIL: u32 = 4;
const ALL_NEW_FROM: u32 = 22;

/// The share of words said in another accent, in a week from 1.
pub(super) fn new_share(week: u32) -> f64 {
    let gone = week.clamp(QUIET_UNTIL, ALL_NEW_FROM) - QUIET_UNTIL;
    f64::from(gone) / f64::from(ALL_NEW_FROM - QUIET_UNTIL)
}

/// The other accents that are heard in a week, all equally often.
pub(super) fn arrived(week: u32) -> Vec<&'static str> {
    ARRIVALS.iter().filter(|(_, from)| *from <= week).map(|(accent, _)| *accent).collect()
}

/// Every accent but the first.
pub(super) fn others() -> impl Iterator<Item = &'static str> {
    ARRIVALS.iter().map(|(accent, _)| *accent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_come_from_none_to_all_and_stay() {
        let shares: Vec<f64> = (1..=WEEKS).map(new_share).collect();
        assert!(shares.is_sorted());
        assert_eq!((shares[3], shares[12], shares[21], shares[25]), (0.0, 0.5, 1.0, 1.0));
        assert_eq!(arrived(QUIET_UNTIL), Vec::<&str>::new());
        assert_eq!(arrived(WEEKS).len(), ARRIVALS.len());
        let without_speakers = (1..=WEEKS).filter(|week| new_share(*week) > 0.0 && arrived(*week).is_empty());
        assert_eq!(without_speakers.count(), 0);
    }
}
