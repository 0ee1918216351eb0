//! What recording every prediction costs: the same requests with and without records, in turns, in one process.
//!
//!     cargo run --release -p edgeward-agent --example record_cost -- [MODEL_MS] [SECONDS]
//!
//! The model is a network that is made so large that one request takes MODEL_MS (1 if not given). A request is what the
//! agent's endpoint does of it between JSON and JSON: the model, the journal, and in every other block the record with its
//! input, appended to the spool on the disk. The spool is full after a while; dropping its oldest part is in the figures.

#![expect(clippy::unwrap_used, reason = "an example ends where a step fails")]

mod network;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use edgeward_agent::records::Records;
use edgeward_agent::spool::Lane;
use edgeward_core::record::{InputsKept, RECORD_POLICY_SCHEMA, RecordPolicy};
use edgeward_core::{DeviceId, ModelName, Timestamp};
use edgeward_model::onnx;
use edgeward_sdk::Loaded;
use network::{BLOCK, load, network, row, units_of_speed};

fn main() {
    let argument = |at, usual| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (model_ms, seconds): (f64, f64) = (argument(1, 1.0), argument(2, 30.0));
    let onnx = onnx::encode(&network(units_of_speed(model_ms), 0));
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(folder.path(), DeviceId::new("bench").unwrap()).unwrap();
    let (plain, kept) = (load(&onnx), load(&onnx).with_records(Some(policy())));
    let mut ratios = Vec::new();
    let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
    let began = Instant::now();
    let mut turn = 0;
    while began.elapsed().as_secs_f64() < seconds {
        // Whatever slows the machine down hits both, now one first and now the other.
        let first = block(if turn % 2 == 0 { &plain } else { &kept }, &records);
        let second = block(if turn % 2 == 0 { &kept } else { &plain }, &records);
        let (bare, recorded) = if turn % 2 == 0 { (first, second) } else { (second, first) };
        without += bare;
        with += recorded;
        ratios.push(recorded.as_secs_f64() / bare.as_secs_f64());
        turn += 1;
    }
    ratios.sort_by(f64::total_cmp);
    let quantile = |share: f64| ratios[((ratios.len() - 1) as f64 * share) as usize];
    let requests = (BLOCK * turn) as f64;
    let rate = |took: Duration| requests / took.as_secs_f64();
    println!(
        "{requests} requests each: {:.1}/s without records, {:.1}/s with; recording costs {:.2}% of throughput \
         ({:.1} us per request)",
        rate(without),
        rate(with),
        100.0 * (1.0 - rate(with) / rate(without)),
        1e6 * (with.as_secs_f64() - without.as_secs_f64()) / requests,
    );
    println!(
        "time with over time without, block by block: median {:.4}, 10% {:.4}, 90% {:.4}; {} records dropped for want of room",
        quantile(0.5),
        quantile(0.1),
        quantile(0.9),
        records.spool().dropped(Lane::Records),
    );
}

fn policy() -> RecordPolicy {
    RecordPolicy {
        schema: RECORD_POLICY_SCHEMA.to_owned(),
        inputs: InputsKept::All,
        sampled: 1.0,
        redact: Vec::new(),
        retention_days: 90,
        records_days: None,
        subject: None,
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn block(loaded: &Loaded, records: &Records) -> Duration {
    let model = ModelName::new("bench").unwrap();
    let began = Instant::now();
    for _ in 0..BLOCK {
        let prediction = loaded.infer(row()).unwrap();
        records.answered(&model, &prediction, now());
    }
    began.elapsed()
}
