//! A place in a bucket: listed, read, and refused with a reason. The server is a real one.

use std::error::Error;

use edgeward_store::{Bucket, BucketConfig, BucketError};
use edgeward_testkit_s3::S3Server;
use tokio::runtime::Runtime;

fn config(server: &S3Server, url: &str, change: Option<(&str, &str)>) -> BucketConfig {
    let mut settings: std::collections::BTreeMap<String, String> =
        server.settings().map(|(name, value)| (name.to_owned(), value)).into();
    settings.extend(change.map(|(name, value)| (name.to_owned(), value.to_owned())));
    BucketConfig { url: url.to_owned(), settings }
}

fn chain(error: &BucketError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn what_lies_below_a_prefix_is_listed_and_fetched() {
    let server = S3Server::start(&["data"]);
    for (name, text) in
        [("pumps/1.csv", "one"), ("pumps/deep/with space.csv", "two"), ("other/3.csv", "three")]
    {
        server.put("data", name, text);
    }
    let folder = tempfile::tempdir().unwrap();
    Runtime::new().unwrap().block_on(async {
        let bucket = Bucket::open(&config(&server, "s3://data/pumps", None)).unwrap();
        bucket.check().await.unwrap();
        let listed = bucket.list().await.unwrap();
        let told: Vec<(&str, u64)> = listed.iter().map(|one| (one.name.as_str(), one.size_bytes)).collect();
        assert_eq!(told, [("1.csv", 3), ("deep/with space.csv", 3)]);
        assert!(listed.iter().all(|one| one.modified_ms > 1_600_000_000_000));
        let names: Vec<String> = listed.into_iter().map(|one| one.name).collect();
        bucket.fetch(&names, folder.path()).await.unwrap();
        let missing = bucket.fetch(&["none.csv".to_owned()], folder.path()).await.unwrap_err();
        assert!(chain(&missing).contains("reading s3://data/pumps"), "{}", chain(&missing));
    });
    assert_eq!(std::fs::read_to_string(folder.path().join("deep/with space.csv")).unwrap(), "two");
}

#[test]
fn a_bucket_that_is_not_there_or_not_ours_is_refused() {
    let server = S3Server::start(&["data"]);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}");
    let cases = [
        ("s3://nothing", None),
        ("s3://data", Some(("AWS_SECRET_ACCESS_KEY", "wrong"))),
        ("s3://data", Some(("AWS_ENDPOINT_URL", gone.as_str()))),
    ];
    for (url, change) in cases {
        let refusal = Runtime::new().unwrap().block_on(async {
            Bucket::open(&config(&server, url, change)).unwrap().check().await.unwrap_err()
        });
        let said = chain(&refusal);
        assert!(said.contains(&format!("asking {url}; check AWS_ENDPOINT_URL")), "{said}");
    }
}
