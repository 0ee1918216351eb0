//! Buckets of S3-compatible object stores: `s3://bucket/prefix`, spoken to as the `AWS_*` variables say.
//!
//! The variables are the usual ones: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL` (another service than Amazon's), those of web identities and container roles, and others that
//! `object_store` knows. They are arguments here; the command line reads them. An endpoint without TLS is spoken to on this
//! machine only, unless `AWS_ALLOW_HTTP` is set: whoever listens on the way reads what is sent.
//!
//! Deliberately missing: profiles of `~/.aws` and single sign-on.

mod http;

use std::collections::BTreeMap;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig};

/// Attempts after the first, of what may pass.
const RETRIES_MAX: usize = 4;
/// How long they may take together.
const RETRY_TIME: Duration = Duration::from_secs(30);
/// Objects fetched at once.
const FETCHES_AT_ONCE: usize = 8;
/// Most objects listed.
pub const OBJECTS_MAX: usize = 1_000_000;
/// A prefix that nobody has; listing it tells whether the bucket is there and answers.
const NOBODYS: &str = "edgeward-is-it-there";

/// How to speak to a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// `s3://bucket` or `s3://bucket/prefix`.
    pub url: String,
    /// Settings by the names of their variables; others than `AWS_*` are passed over.
    pub settings: BTreeMap<String, String>,
}

impl std::fmt::Debug for BucketConfig {
    /// Without the settings: some of them are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A place in a bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    url: String,
    store: Arc<dyn ObjectStore>,
}

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name below the place, with `/`.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// What changes with its content; none if the service does not say.
    pub etag: Option<String>,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// What a bucket did not do.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// No address of a bucket.
    #[error("'{0}' is no bucket; write s3://BUCKET or s3://BUCKET/PREFIX")]
    Url(String),
    /// The endpoint would be spoken to in the open.
    #[error(
        "the endpoint {0} is not on this machine and has no TLS: data and requests could be read on the way; use https, or set \
         AWS_ALLOW_HTTP=true"
    )]
    InTheOpen(String),
    /// The settings do not fit together.
    #[error("the settings of {url} (AWS_* variables)")]
    Settings {
        /// The bucket.
        url: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// It does not answer, or refuses.
    #[error(
        "{doing} {url}; check AWS_ENDPOINT_URL, AWS_REGION and the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The bucket.
        url: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// More than [`OBJECTS_MAX`].
    #[error("{0} holds more than {OBJECTS_MAX} objects; name a longer prefix")]
    TooMany(String),
    /// Its name leads elsewhere.
    #[error("the object '{0}' has a name that no file may have; rename it")]
    Name(String),
    /// A fetched object cannot be written.
    #[error("writing {path}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Bucket {
    /// The place that `config` names. Nothing is asked yet.
    ///
    /// # Errors
    /// It names none, or one that would be spoken to in the open.
    pub fn open(config: &BucketConfig) -> Result<Self, BucketError> {
        let no_bucket = || BucketError::Url(config.url.clone());
        let place = config.url.strip_prefix("s3://").ok_or_else(no_bucket)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(is_plain) {
            return Err(no_bucket());
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| no_bucket())?;
        let settings = |source| BucketError::Settings { url: config.url.clone(), source };
        let retry =
            RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new().with_retry(retry).with_http_connector(http::Connector);
        let mut is_in_the_open = false;
        for (name, value) in &config.settings {
            let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
            if name.starts_with("AWS_") {
                is_in_the_open |= name == "AWS_ALLOW_HTTP" && value.eq_ignore_ascii_case("true");
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| builder.get_config_value(key));
        if let Some(open) = endpoint.filter(|endpoint| !is_in_the_open && !is_guarded(endpoint)) {
            return Err(BucketError::InTheOpen(open));
        }
        let store = builder.with_bucket_name(bucket).build().map_err(settings)?;
        Ok(Self { url: config.url.clone(), store: Arc::new(PrefixStore::new(store, prefix)) })
    }

    /// The store behind it.
    pub(crate) fn into_store(self) -> Arc<dyn ObjectStore> {
        self.store
    }

    /// Whether it is there, and lets itself be listed.
    ///
    /// # Errors
    /// It does not.
    pub async fn check(&self) -> Result<(), BucketError> {
        match self.store.list(Some(&Path::from(NOBODYS))).next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(source)) => Err(self.refused("asking", source)),
        }
    }

    /// All objects, by name.
    ///
    /// # Errors
    /// It does not answer, or there are too many.
    pub async fn list(&self) -> Result<Vec<Object>, BucketError> {
        let mut found = Vec::new();
        let mut listed = self.store.list(None);
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|source| self.refused("listing", source))?;
            if found.len() >= OBJECTS_MAX {
                return Err(BucketError::TooMany(self.url.clone()));
            }
            let name = meta.location.as_ref().to_owned();
            let modified_ms = meta.last_modified.timestamp_millis();
            found.push(Object { name, size_bytes: meta.size, etag: meta.e_tag, modified_ms });
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Writes the objects of these names below `folder`, in which nobody else works.
    ///
    /// # Errors
    /// One cannot be had or written.
    pub async fn fetch(&self, names: &[String], folder: &FilePath) -> Result<(), BucketError> {
        let files = names.iter().map(|name| Ok((name, file_below(folder, name)?)));
        let files = files.collect::<Result<Vec<_>, BucketError>>()?;
        let fetch = |(name, file): (&String, PathBuf)| {
            let name = name.clone();
            async move { self.fetch_one(&name, &file).await }
        };
        stream::iter(files).map(fetch).buffer_unordered(FETCHES_AT_ONCE).try_collect().await
    }

    async fn fetch_one(&self, name: &str, file: &FilePath) -> Result<(), BucketError> {
        use std::io::Write as _;
        let refused = |source| self.refused("reading", source);
        let write = |source| BucketError::Write { path: file.display().to_string(), source };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(write)?;
        }
        let path = Path::parse(name).map_err(|_| BucketError::Name(name.to_owned()))?;
        let mut parts = self.store.get(&path).await.map_err(refused)?.into_stream();
        let mut written = std::fs::File::create(file).map_err(write)?;
        while let Some(part) = parts.next().await {
            written.write_all(&part.map_err(refused)?).map_err(write)?;
        }
        Ok(())
    }

    fn refused(&self, doing: &'static str, source: object_store::Error) -> BucketError {
        BucketError::Refused { doing, url: self.url.clone(), source }
    }
}

/// The file that an object becomes below `folder`.
fn file_below(folder: &FilePath, name: &str) -> Result<PathBuf, BucketError> {
    let plain = FilePath::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    match plain && !name.is_empty() {
        true => Ok(folder.join(name)),
        false => Err(BucketError::Name(name.to_owned())),
    }
}

/// Whether nobody on the way can read what is sent to an endpoint.
fn is_guarded(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return endpoint.starts_with("https://") };
    let host = rest.split('/').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, settings: &[(&str, &str)]) -> Result<Bucket, String> {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Bucket::open(&BucketConfig { url: url.to_owned(), settings }).map_err(|error| error.to_string())
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];

    #[test]
    fn only_a_bucket_is_a_bucket() {
        for url in ["s3://data", "s3://data/", "s3://my.data-1/deep/prefix/"] {
            open(url, &KEYS).expect(url);
        }
        for url in ["s3://", "s3:///x", "data", "https://data", "s3://a b", "s3://user@host/x", "s3://b/../x"]
        {
            let said = open(url, &KEYS).expect_err(url);
            assert!(said.contains("s3://BUCKET/PREFIX"), "{said}");
        }
    }

    #[test]
    fn nothing_is_sent_in_the_open_unaskedly() {
        let at = |endpoint, more: &[(&'static str, &'static str)]| {
            open("s3://data", &[&KEYS[..], &[("AWS_ENDPOINT_URL", endpoint)][..], more].concat())
        };
        for endpoint in
            ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000/", "https://s3.example"]
        {
            at(endpoint, &[]).expect(endpoint);
        }
        for endpoint in ["http://10.0.0.1:9000", "http://localhost.example", "http://127.0.0.1.example:80"] {
            assert!(at(endpoint, &[]).expect_err(endpoint).contains("AWS_ALLOW_HTTP"));
            at(endpoint, &[("AWS_ALLOW_HTTP", "true")]).expect(endpoint);
        }
    }

    #[test]
    fn half_a_key_is_refused_and_secrets_are_not_shown() {
        assert!(open("s3://data", &KEYS[..1]).expect_err("no secret").contains("AWS_*"));
        let settings = BTreeMap::from([("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())]);
        let shown = format!("{:?}", BucketConfig { url: "s3://data".to_owned(), settings });
        assert!(shown.contains("s3://data") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn an_object_becomes_a_file_below_its_folder_or_none() {
        let folder = FilePath::new("mirror");
        assert_eq!(file_below(folder, "a/b.csv").expect("plain"), folder.join("a/b.csv"));
        for name in ["", "../b", "a/../../b", "/etc/passwd", "./a"] {
            assert!(file_below(folder, name).is_err(), "{name}");
        }
    }
}
