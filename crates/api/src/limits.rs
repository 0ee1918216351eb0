//! Named limits of the wire. Client and server read the same constants; a test stands at each.

/// Largest JSON body of a request or an answer.
pub const JSON_BYTES_MAX: u64 = 8 << 20;
/// Largest blob that is uploaded or downloaded.
pub const BLOB_BYTES_MAX: u64 = 2 << 30;
/// Most samples in one upload.
pub const SAMPLES_PER_UPLOAD_MAX: usize = 500;
/// Most values in one sample.
pub const SAMPLE_VALUES_MAX: usize = 1 << 16;
/// Most alerts in one upload.
pub const ALERTS_PER_UPLOAD_MAX: usize = 100;
/// Most records of predictions in one upload.
pub const RECORDS_PER_UPLOAD_MAX: usize = 1000;
/// Longest record of a prediction, in bytes, without what is kept of the input.
pub const RECORD_BYTES_MAX: usize = 64 << 10;
/// Most ledger entries that tell where a model comes from.
pub const LINEAGE_ENTRIES_MAX: usize = 500;
/// Largest profile in one upload.
pub const PROFILE_BYTES_MAX: usize = 1 << 20;
/// Largest performance in one upload.
pub const PERFORMANCE_BYTES_MAX: usize = 1 << 20;
/// Most reports and profiles that wait to be kept; more are turned away with 503 and `Retry-After`.
pub const UPLOADS_WAITING_MAX: usize = 1024;
/// Most reports and profiles that are kept in one transaction.
pub const UPLOADS_PER_TRANSACTION_MAX: usize = 256;
/// Seconds after which a device that was turned away tries again.
pub const BUSY_RETRY_S: u64 = 15;
/// Longest time, in seconds, that a device waits because a server says so.
pub const RETRY_AFTER_S_MAX: u64 = 3600;
/// Most entries in one page of a listing.
pub const PAGE_MAX: usize = 1000;
/// Seconds a client waits for a connection.
pub const CONNECT_TIMEOUT_S: u64 = 5;
/// Seconds a collector or a webhook gets to take what is posted to it.
pub const POST_TIMEOUT_S: u64 = 10;
/// Seconds a client waits for a whole JSON answer.
pub const ANSWER_TIMEOUT_S: u64 = 30;
/// Seconds a client listens to one stream of nudges; the server ends it earlier.
pub const STREAM_TIMEOUT_S: u64 = 300;
/// Seconds a client waits for a whole blob.
pub const BLOB_TIMEOUT_S: u64 = 600;
