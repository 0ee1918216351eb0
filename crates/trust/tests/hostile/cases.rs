//! The cases. Each bends the honest repository and says at what time the device meets it.

use edgeward_core::{Timestamp, canonical};
use edgeward_trust::Signer as _;
use edgeward_trust::fleet::{
    DESIRED_PATH, RELEASES, RELEASES_PATTERN, ROLLOUTS, ROLLOUTS_PATTERN, release_path, target_file,
};
use edgeward_trust::tuf::metadata::{DelegatedRole, Delegations, MetaFile, Target};
use edgeward_trust::tuf::repository::{Holders, add_signatures, empty_targets, role_keys, with_ids};
use edgeward_trust::tuf::{Root, Targets};
use serde_json::{Map, Value, json};

use super::manifests::manifest;
use super::repo::{DAY, NOW, Repo, bundle, desired, digits, key, signed};

/// One hostile repository.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) expect: Expect,
    /// Whether the honest repository is taken again after it. It is not where a thief of keys left higher versions.
    pub(crate) recovers: bool,
    pub(crate) bend: fn(&mut Repo) -> Timestamp,
}

pub(crate) enum Expect {
    /// The refresh ends with this reason.
    Refused(&'static str),
    /// The desired state is read, and what it names has no release.
    NotReleased,
}

const fn case(name: &'static str, reason: &'static str, bend: fn(&mut Repo) -> Timestamp) -> Case {
    Case { name, expect: Expect::Refused(reason), recovers: true, bend }
}

/// With keys that were stolen, or a root that did change: versions stay raised.
const fn stolen(name: &'static str, reason: &'static str, bend: fn(&mut Repo) -> Timestamp) -> Case {
    Case { name, expect: Expect::Refused(reason), recovers: false, bend }
}

const fn unreleased(name: &'static str, bend: fn(&mut Repo) -> Timestamp) -> Case {
    Case { name, expect: Expect::NotReleased, recovers: false, bend }
}

const ROOTS: [&str; 2] = ["root-1", "root-2"];
const TIMESTAMP: &str = "metadata/timestamp.json";

pub(crate) fn all() -> Vec<Case> {
    [expired(), older(), mixed(), keys(), roots(), sizes(), shapes(), delegations(), fleet()]
        .into_iter()
        .flatten()
        .collect()
}

fn expired() -> Vec<Case> {
    vec![
        stolen("expired-root", "expired", |repo| {
            (repo.root.version, repo.root.expires) = (2, NOW);
            repo.put_root(&ROOTS);
            NOW
        }),
        case("expired-timestamp", "expired", |repo| {
            repo.timestamp.expires = NOW;
            repo.put_timestamp(&["timestamp"]);
            NOW
        }),
        stolen("expired-snapshot", "expired", |repo| {
            repo.snapshot.expires = NOW;
            repo.seal();
            NOW
        }),
        stolen("expired-targets", "expired", |repo| {
            repo.targets.expires = NOW;
            repo.put_targets(&ROOTS);
            repo.seal();
            NOW
        }),
        stolen("expired-releases", "expired", |repo| {
            repo.releases.expires = NOW;
            repo.put_releases(&["releases"]);
            repo.seal();
            NOW
        }),
        stolen("expired-rollouts", "expired", |repo| {
            repo.rollouts.expires = NOW;
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        case("frozen", "expired", |_| NOW + 8 * DAY),
    ]
}

/// What was said once is said again. The device has seen version 2 of timestamp, snapshot and rollouts.
fn older() -> Vec<Case> {
    vec![
        case("replayed-repository", "rolled_back", |repo| {
            repo.files = repo.earlier.clone();
            NOW
        }),
        case("rolled-back-timestamp", "rolled_back", |repo| {
            repo.put(TIMESTAMP, repo.earlier[TIMESTAMP].clone());
            NOW
        }),
        case("rolled-back-snapshot", "rolled_back", |repo| {
            let old = &repo.files["metadata/1.snapshot.json"];
            repo.timestamp.meta.insert("snapshot.json".to_owned(), MetaFile::of(1, old));
            repo.put_timestamp(&["timestamp"]);
            NOW
        }),
        stolen("rolled-back-rollouts", "rolled_back", |repo| {
            let old = &repo.files["metadata/1.rollouts.json"];
            repo.snapshot.meta.insert("rollouts.json".to_owned(), MetaFile::of(1, old));
            repo.seal();
            NOW
        }),
        stolen("rolled-back-releases", "rolled_back", |repo| {
            repo.snapshot.meta.get_mut("releases.json").unwrap().version = 1;
            repo.seal();
            NOW
        }),
        stolen("forgotten-role", "forgotten", |repo| {
            repo.snapshot.meta.remove("releases.json");
            repo.seal();
            NOW
        }),
        case("equivocating-timestamp", "equivocation", |repo| {
            repo.timestamp.version -= 1;
            repo.timestamp.expires = NOW + 9 * DAY;
            repo.put_timestamp(&["timestamp"]);
            NOW
        }),
        stolen("equivocating-snapshot", "equivocation", |repo| {
            repo.snapshot.version -= 1;
            repo.snapshot.expires = NOW + 9 * DAY;
            repo.seal();
            NOW
        }),
        stolen("equivocating-rollouts", "equivocation", |repo| {
            repo.rollouts.version -= 1;
            repo.rollouts.expires = NOW + 9 * DAY;
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
    ]
}

/// Genuine files that do not belong together, and files that are not what was signed.
fn mixed() -> Vec<Case> {
    vec![
        stolen("mix-and-match", "wrong_hash", |repo| {
            let old = repo.files["metadata/2.rollouts.json"].clone();
            repo.publish(bundle(1));
            repo.put("metadata/3.rollouts.json", old);
            NOW
        }),
        stolen("mix-and-match-without-hashes", "wrong_version", |repo| {
            let old = repo.files["metadata/2.rollouts.json"].clone();
            repo.publish(bundle(1));
            repo.put("metadata/3.rollouts.json", old);
            let meta = repo.snapshot.meta.get_mut("rollouts.json").unwrap();
            (meta.length, meta.hashes) = (None, None);
            repo.seal();
            NOW
        }),
        stolen("missing-snapshot", "absent", |repo| {
            repo.publish(bundle(1));
            repo.files.remove("metadata/3.snapshot.json");
            NOW
        }),
        stolen("missing-desired-state", "absent", |repo| {
            repo.publish(bundle(1));
            let path = target_file(DESIRED_PATH, &repo.rollouts.targets[DESIRED_PATH]);
            repo.files.remove(&path);
            NOW
        }),
        stolen("wrong-hash", "wrong_hash", |repo| {
            repo.publish(bundle(1));
            let path = target_file(DESIRED_PATH, &repo.rollouts.targets[DESIRED_PATH]);
            repo.edit_text(&path, "probation_ms", "probation_sm");
            NOW
        }),
        stolen("wrong-length", "wrong_length", |repo| {
            repo.publish(bundle(1));
            let path = target_file(DESIRED_PATH, &repo.rollouts.targets[DESIRED_PATH]);
            repo.edit(&path, |bytes| bytes.truncate(bytes.len() - 1));
            NOW
        }),
        case("snapshot-as-timestamp", "wrong_type", |repo| {
            repo.put(TIMESTAMP, repo.files["metadata/2.snapshot.json"].clone());
            NOW
        }),
    ]
}

fn keys() -> Vec<Case> {
    vec![
        case("unsigned", "too_few_signatures", |repo| {
            repo.put_timestamp(&[]);
            NOW
        }),
        case("wrong-key", "too_few_signatures", |repo| {
            repo.put_timestamp(&["intruder"]);
            NOW
        }),
        case("key-of-another-role", "too_few_signatures", |repo| {
            repo.put_timestamp(&["snapshot", "rollouts"]);
            NOW
        }),
        case("signature-under-anothers-name", "too_few_signatures", |repo| {
            let bytes = signed(&repo.timestamp, &["intruder"]);
            let mut value: Value = serde_json::from_slice(&bytes).unwrap();
            value["signatures"][0]["keyid"] =
                json!(with_ids(&[key("timestamp").public_key()]).next().unwrap().0);
            repo.put(TIMESTAMP, serde_json::to_vec(&value).unwrap());
            NOW
        }),
        // By enough keys all the same: what other clients refuse is refused here too.
        case("signature-listed-twice", "malformed", |repo| {
            repo.timestamp.version += 1;
            repo.put(TIMESTAMP, signed_twice(&signed(&repo.timestamp, &["timestamp"])));
            NOW
        }),
        stolen("snapshot-signature-listed-twice", "malformed", |repo| {
            repo.snapshot.version += 1;
            let (version, bytes) =
                (repo.snapshot.version, signed_twice(&signed(&repo.snapshot, &["snapshot"])));
            repo.timestamp.meta.insert("snapshot.json".to_owned(), MetaFile::of(version, &bytes));
            repo.put(format!("metadata/{version}.snapshot.json"), bytes);
            repo.put_timestamp(&["timestamp"]);
            NOW
        }),
        stolen("releases-by-the-online-keys", "too_few_signatures", |repo| {
            repo.releases.targets.insert(release_path(&digits(), &bundle(2)), Target::of(&manifest(2), None));
            repo.put_releases(&["rollouts", "snapshot", "timestamp"]);
            repo.publish(bundle(2));
            NOW
        }),
        stolen("one-key-under-two-ids", "too_few_signatures", |repo| {
            let key = repo.root.keys[&repo.root.roles["timestamp"].keyids[0]].clone();
            repo.root.version = 2;
            repo.root.keys.insert("second".to_owned(), key);
            let role = repo.root.roles.get_mut("timestamp").unwrap();
            role.keyids.push("second".to_owned());
            role.threshold = 2;
            repo.put_root(&ROOTS);
            let mut value: Value = serde_json::from_slice(&signed(&repo.timestamp, &["timestamp"])).unwrap();
            let mut second = value["signatures"][0].clone();
            second["keyid"] = json!("second");
            value["signatures"].as_array_mut().unwrap().push(second);
            repo.put(TIMESTAMP, serde_json::to_vec(&value).unwrap());
            NOW
        }),
    ]
}

/// A document whose first signature stands there twice.
fn signed_twice(bytes: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    let first = value["signatures"][0].clone();
    value["signatures"].as_array_mut().unwrap().push(first);
    serde_json::to_vec(&value).unwrap()
}

fn roots() -> Vec<Case> {
    vec![
        case("root-below-its-threshold", "too_few_signatures", |repo| {
            repo.root.version = 2;
            repo.put_root(&["root-1"]);
            NOW
        }),
        case("root-signed-twice-by-one-key", "malformed", |repo| {
            repo.root.version = 2;
            let bytes = signed_twice(&signed(&repo.root, &["root-1"]));
            repo.put("metadata/2.root.json", bytes);
            NOW
        }),
        case("root-skipped", "wrong_version", |repo| {
            repo.root.version = 3;
            let bytes = signed(&repo.root, &ROOTS);
            repo.put("metadata/2.root.json", bytes);
            NOW
        }),
        case("root-by-new-keys-only", "too_few_signatures", |repo| {
            take_over(repo);
            repo.put_root(&["intruder", "accomplice"]);
            NOW
        }),
        case("root-by-old-keys-only", "too_few_signatures", |repo| {
            take_over(repo);
            repo.put_root(&ROOTS);
            NOW
        }),
        case("root-by-one-old-key", "too_few_signatures", |repo| {
            take_over(repo);
            let bytes = signed(&repo.root, &["intruder", "accomplice"]);
            repo.put("metadata/2.root.json", add_signatures::<Root>(&bytes, &[&key("root-3")]).unwrap());
            NOW
        }),
    ]
}

/// A next root with other keys.
fn take_over(repo: &mut Repo) {
    let keys = ["intruder", "accomplice"].map(|name| key(name).public_key());
    repo.root.version = 2;
    repo.root.set_holders("root", &Holders { keys: &keys, threshold: 2 });
}

fn sizes() -> Vec<Case> {
    vec![
        case("endless-timestamp", "too_large", |repo| {
            repo.edit(TIMESTAMP, |bytes| bytes.resize(1 << 20, b' '));
            NOW
        }),
        case("endless-root", "too_large", |repo| {
            repo.put("metadata/2.root.json", vec![b' '; 1 << 20]);
            NOW
        }),
        stolen("endless-snapshot", "too_large", |repo| {
            repo.publish(bundle(1));
            repo.edit("metadata/3.snapshot.json", |bytes| bytes.push(b' '));
            NOW
        }),
        stolen("endless-desired-state", "wrong_length", |repo| {
            repo.publish(bundle(1));
            let path = target_file(DESIRED_PATH, &repo.rollouts.targets[DESIRED_PATH]);
            repo.edit(&path, |bytes| bytes.resize(1 << 20, b' '));
            NOW
        }),
        stolen("desired-state-of-a-terabyte", "too_large", |repo| {
            repo.rollouts.targets.get_mut(DESIRED_PATH).unwrap().length = 1 << 40;
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        case("ten-thousand-signatures", "malformed", |repo| {
            repo.timestamp.extra.clear();
            let mut value: Value = serde_json::from_slice(&signed(&repo.timestamp, &["timestamp"])).unwrap();
            let one = json!({ "keyid": "", "sig": "" });
            value["signatures"] = Value::Array(vec![one; 400]);
            repo.put(TIMESTAMP, serde_json::to_vec(&value).unwrap());
            NOW
        }),
    ]
}

/// What a parser could be led astray by; each stands in a timestamp with a good signature or none.
fn shapes() -> Vec<Case> {
    vec![
        case("not-json", "malformed", |repo| {
            repo.put(TIMESTAMP, b"<html>captive portal</html>".to_vec());
            NOW
        }),
        case("huge-integer", "malformed", |repo| {
            repo.edit_text(TIMESTAMP, "\"version\":2", "\"version\":18446744073709551616");
            NOW
        }),
        case("integer-out-of-range", "malformed", |repo| {
            repo.edit_text(TIMESTAMP, "\"version\":2", "\"version\":18446744073709551615");
            NOW
        }),
        case("version-zero", "malformed", |repo| {
            repo.edit_text(TIMESTAMP, "\"version\":2", "\"version\":0");
            NOW
        }),
        case("another-spelling-of-a-number", "malformed", |repo| {
            repo.edit_text(TIMESTAMP, "\"version\":2", "\"version\":2.0");
            NOW
        }),
        case("deep-json", "malformed", |repo| {
            let deep = format!("\"x\":{}{},\"version\"", "[".repeat(4000), "]".repeat(4000));
            repo.edit_text(TIMESTAMP, "\"version\"", &deep);
            NOW
        }),
        case("duplicate-key", "malformed", |repo| {
            repo.edit_text(TIMESTAMP, "\"version\":2", "\"version\":2,\"version\":3");
            NOW
        }),
        case("another-specification", "malformed", |repo| {
            repo.timestamp.spec_version = "2.0.0".to_owned();
            repo.put_timestamp(&["timestamp"]);
            NOW
        }),
    ]
}

/// Delegations to one role, whose key is that of the rollouts.
fn delegations_to(name: &str, pattern: &str) -> Delegations {
    let keys = [key("rollouts").public_key()];
    let holders = role_keys(&Holders { keys: &keys, threshold: 1 });
    let role = DelegatedRole {
        name: name.to_owned(),
        keyids: holders.keyids,
        threshold: 1,
        terminating: false,
        paths: Some(vec![pattern.to_owned()]),
        path_hash_prefixes: None,
        extra: Map::new(),
    };
    Delegations { keys: with_ids(&keys).collect(), roles: vec![role], extra: Map::new() }
}

/// Rollouts that delegate on, which only a thief of their key makes.
fn delegate(from: &mut Targets, to: &str) {
    from.delegations = Some(delegations_to(to, ROLLOUTS_PATTERN));
    from.targets.clear();
}

fn delegations() -> Vec<Case> {
    vec![
        stolen("delegation-cycle", "no_such_target", |repo| {
            let mut a = empty_targets(NOW + DAY);
            delegate(&mut a, ROLLOUTS);
            repo.put_role("a", 1, signed(&a, &["rollouts"]));
            delegate(&mut repo.rollouts, "a");
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("endless-delegations", "too_many_delegations", |repo| {
            for n in 0..60 {
                let mut next = empty_targets(NOW + DAY);
                delegate(&mut next, &format!("d{}", n + 1));
                repo.put_role(&format!("d{n}"), 1, signed(&next, &["rollouts"]));
            }
            delegate(&mut repo.rollouts, "d0");
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("delegation-out-of-the-folder", "absent", |repo| {
            delegate(&mut repo.rollouts, "../../timestamp");
            repo.put_rollouts(&["rollouts"]);
            let meta = MetaFile::of(1, b"x");
            repo.snapshot.meta.insert("../../timestamp.json".to_owned(), meta);
            repo.seal();
            NOW
        }),
        stolen("delegation-named-root", "malformed", |repo| {
            delegate(&mut repo.rollouts, "root");
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("unlisted-role", "not_listed", |repo| {
            delegate(&mut repo.rollouts, "ghost");
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("another-role-vouches", "wrong_role", |repo| {
            let target = repo.rollouts.targets[DESIRED_PATH].clone();
            repo.targets.targets.insert(DESIRED_PATH.to_owned(), target);
            repo.put_targets(&ROOTS);
            repo.seal();
            NOW
        }),
    ]
}

/// What a thief of the online keys can say, and what he cannot make a device run.
fn fleet() -> Vec<Case> {
    vec![
        unreleased("unreleased-bundle", |repo| {
            repo.publish(bundle(2));
            NOW
        }),
        unreleased("rollouts-vouch-for-a-release", |repo| {
            let path = release_path(&digits(), &bundle(2));
            repo.rollouts.targets.insert(path, Target::of(&manifest(2), None));
            repo.publish(bundle(2));
            NOW
        }),
        unreleased("rollouts-delegate-releases-to-themselves", |repo| {
            let mut own = empty_targets(NOW + DAY);
            own.targets.insert(release_path(&digits(), &bundle(2)), Target::of(&manifest(2), None));
            repo.put_role("own", 1, signed(&own, &["rollouts"]));
            repo.rollouts.delegations = Some(delegations_to("own", RELEASES_PATTERN));
            repo.publish(bundle(2));
            NOW
        }),
        unreleased("manifest-of-another-model", |repo| {
            let letters = edgeward_core::ModelName::new("letters").unwrap();
            repo.releases.targets.insert(release_path(&letters, &bundle(2)), Target::of(&manifest(2), None));
            repo.put_releases(&["releases"]);
            repo.publish(bundle(2));
            NOW
        }),
        unreleased("release-with-anothers-hash", |repo| {
            repo.releases.targets.insert(release_path(&digits(), &bundle(2)), Target::of(b"other", None));
            repo.put_releases(&["releases"]);
            repo.publish(bundle(2));
            NOW
        }),
        unreleased("manifest-of-a-terabyte", |repo| {
            let target = Target { length: 1 << 40, ..Target::of(&manifest(2), None) };
            repo.releases.targets.insert(release_path(&digits(), &bundle(2)), target);
            repo.put_releases(&["releases"]);
            repo.publish(bundle(2));
            NOW
        }),
        stolen("path-escape-in-a-models-name", "bad_desired_state", |repo| {
            let text = String::from_utf8(canonical::to_bytes(&desired(3, bundle(1))).unwrap()).unwrap();
            repo.put_desired(text.replace("\"digits\"", "\"../../etc/passwd\"").as_bytes());
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("generation-of-another-version", "bad_desired_state", |repo| {
            repo.put_desired(&canonical::to_bytes(&desired(1, bundle(1))).unwrap());
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("no-desired-state", "no_such_target", |repo| {
            repo.rollouts.targets.clear();
            repo.put_rollouts(&["rollouts"]);
            repo.seal();
            NOW
        }),
        stolen("releases-gone", "absent", |repo| {
            repo.put_releases(&["releases"]);
            repo.files.remove(&format!("metadata/{}.{RELEASES}.json", repo.releases.version));
            repo.publish(bundle(1));
            NOW
        }),
    ]
}
