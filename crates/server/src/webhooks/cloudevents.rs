//! An entry of the ledger as a CloudEvent. Source: CloudEvents 1.0, JSON format, structured content mode.

use edgeward_core::ledger::Entry;
use serde_json::json;

use super::Letter;
use crate::dashboard::words::happening;
use crate::instant::rfc3339;

/// What a receiver is posted.
pub(super) fn letter(entry: &Entry, address: &str) -> Letter {
    let said = happening(&entry.event);
    let event = json!({
        "specversion": "1.0",
        "id": format!("entry-{}", entry.seq),
        "source": address,
        "type": format!("io.edgeward.{}", entry.event.kind()),
        "subject": said.title,
        "time": rfc3339(entry.at_ms),
        "datacontenttype": "application/json",
        "data": entry.event,
    });
    Letter {
        content_type: "application/cloudevents+json; charset=utf-8",
        body: event.to_string().into_bytes(),
    }
}
