//! ADWIN, DDM and Page-Hinkley agree with river at every step; `oracle/river.py` wrote what river says, and is asked
//! again about other streams where the package can be had.

use edgeward_monitor::classic::{Adwin, Ddm, DdmState, PageHinkley};

const RIVER: &str = include_str!("oracle/river.csv");

#[derive(Default)]
struct Detectors {
    adwin: Adwin,
    ddm: Ddm,
    page: PageHinkley,
}

/// Checks one line; returns which detectors alarmed.
fn check(line: usize, fields: &[&str], detectors: &mut Detectors) -> [bool; 3] {
    let value: f64 = fields[1].parse().expect("a number");
    let adwin = detectors.adwin.observe(value);
    let ddm = detectors.ddm.observe(value > 0.5);
    let page = detectors.page.observe(value);
    let state = match ddm {
        DdmState::Stable => "0",
        DdmState::Warning => "1",
        DdmState::Drift => "2",
    };
    let found = [u8::from(adwin).to_string(), detectors.adwin.width().to_string()];
    assert_eq!(found, [fields[2], fields[3]], "line {line}");
    let mean: f64 = fields[4].parse().expect("a number");
    assert!((detectors.adwin.mean() - mean).abs() < 1e-9, "line {line}");
    assert_eq!([state, if page { "1" } else { "0" }], [fields[5], fields[6]], "line {line}");
    [adwin, ddm == DdmState::Drift, page]
}

/// Checks every line; returns how often each detector alarmed.
fn check_all(lines: &str) -> [u32; 3] {
    let mut stream = "";
    let mut detectors = Detectors::default();
    let mut alarms = [0; 3];
    for (line, text) in lines.lines().enumerate() {
        let fields: Vec<&str> = text.split(',').collect();
        if fields[0] != stream {
            stream = fields[0];
            detectors = Detectors::default();
        }
        let raised = check(line + 1, &fields, &mut detectors);
        alarms.iter_mut().zip(raised).for_each(|(count, raised)| *count += u32::from(raised));
    }
    alarms
}

#[test]
fn every_step_is_rivers() {
    let alarms = check_all(RIVER);
    assert!(alarms.iter().all(|count| *count >= 2), "{alarms:?}");
}

#[test]
fn every_step_is_the_real_rivers() {
    let Ok(python) = edgeward_testkit_python::environment("river", &["river==0.26.1"]) else { return };
    for seed in ["1", "2", "3"] {
        let said = python.run(include_str!("oracle/river.py"), &[seed]);
        assert_eq!(said.lines().count(), RIVER.lines().count());
        check_all(&said);
    }
}
